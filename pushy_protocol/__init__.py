"""The contract between pushyd, pushy-agent and the CLI, and Chef Push Jobs 2.x.

Shapes, signatures and names only: nothing in here decides what to do. It imports none of the programs.
"""
