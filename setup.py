"""The packages; all else is in pyproject.toml, which cannot say "all that are found, and a folder by another name"."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["esv_jax*"]), "esv_jax.experiments"],
    package_dir={"esv_jax.experiments": "experiments"},  # so that no top-level name but esv_jax is taken
)
