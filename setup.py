"""For Beam's ``--setup_file``: workers install the project from here; the metadata is in pyproject.toml."""

from setuptools import setup

setup()
