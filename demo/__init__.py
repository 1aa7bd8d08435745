"""A small fleet of real processes on this machine: for the demo, and for the tests that need one."""
