"""The machine that computes, as far as the last bits of results depend on it."""

import os
from typing import Any

import jax


def described() -> dict[str, Any]:
    """{"platform", "device"}, and of processors "threads", as JAX sees them now; json.

    Sums are taken in parts, one for each thread of XLA's pool: of another number of them the last bits differ.
    """
    device = jax.devices()[0]
    found: dict[str, Any] = {"platform": device.platform, "device": device.device_kind}
    return found | ({"threads": _num_threads()} if device.platform == "cpu" else {})


def _num_threads() -> int:
    """Of XLA's pool on processors: the environment's NPROC, or the processors that this process may use; at least one
    for each device that they are made to stand for."""
    said = os.environ.get("NPROC", "")
    if said.isdecimal() and int(said) > 0:
        threads = int(said)
    else:
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(threads, jax.local_device_count())
