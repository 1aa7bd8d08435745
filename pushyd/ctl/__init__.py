"""``pushyd-ctl``: administration on the server's own machine, over its state directory and its database.

It asks nobody's leave but the file system's, and is safe beside the running server.
"""
