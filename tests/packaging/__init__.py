"""The Debian packages, installed with apt on a fresh Debian that systemd boots. Run by .ci/run; see `__main__`."""
