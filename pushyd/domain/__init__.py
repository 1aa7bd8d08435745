"""The rules of jobs and nodes as pure code: no Twisted, no I/O, no clock."""
