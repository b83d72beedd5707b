"""What made a result, as kept beside it."""

import importlib.metadata
import platform


def version(package: str) -> str:
    """The installed version of a package, or "not installed"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def versions() -> dict[str, str]:
    """Versions of what decides a result."""
    return {"python": platform.python_version()} | {
        package: version(package) for package in ("esv-jax", "jax", "flax", "optax", "numpy")
    }
