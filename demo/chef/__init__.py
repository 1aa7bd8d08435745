"""A Chef Server's double: the part of its published API that a push server and its users need, over real HTTP.

It checks signatures, versions and rights as a Chef Server does, and keeps everything in memory. It is for the demo and
for the tests, which can also have it be slow, broken or away. Nobody should keep anything in it.
"""
