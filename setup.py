"""A stub for tools that look for one; everything stands in pyproject.toml."""

from setuptools import setup

setup()
