"""Numbers and texts as a page's scripts read them: fixed point, deflated, base64, in json that no markup can end.

A value v is kept as the whole number q = floor(20000 v), int16, and read as (q + 1/2) / 20000: at most 2.5e-5 off, of
the same sign, and the same text when it is rounded to four decimals or fewer, because no rounding of those lies within
a step. Zero and what is no number have whole numbers of their own. The sign of q is its last bit, as values near zero
are then small numbers, which deflate better. Arrays with values beyond int16 stay float32.
"""

import base64
import json
import zlib
from typing import Any

import numpy as np

STEPS = 20_000  # of 1
NOTHING, ZERO = -(2**15), -(2**15) + 1  # NaN and infinities; 0


def coded(values: np.ndarray) -> dict[str, Any]:
    """Values of any shape as json: the type of its elements, and their bytes."""
    finite = np.isfinite(values)
    steps = np.floor(np.where(finite, values, 0).astype(np.float64) * STEPS)
    if steps.size and (steps.min() <= ZERO or steps.max() >= 2**15):
        return packed(np.where(finite, values, np.nan).astype("<f4"))
    steps[values == 0] = ZERO
    steps[~finite] = NOTHING
    whole = steps.astype("<i2")
    return {**packed((whole << 1) ^ (whole >> 15)), "type": "fixed"}


def packed(array: np.ndarray) -> dict[str, Any]:
    """An array of whole numbers or float32 as json.

    All first bytes stand before all second ones, and so on, which makes them smaller when deflated.
    """
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    planes = little.reshape(-1, 1).view(np.uint8).T
    return {"type": f"{little.dtype.kind}{little.dtype.itemsize}", "bytes": _deflated(planes.tobytes())}


def packed_json(content: Any) -> str:
    """Anything json-able, deflated."""
    return _deflated(json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass"))


def inline(content: Any) -> str:
    """Json that can stand in a script of a page: in ASCII, without the sign that could end it."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _deflated(content: bytes) -> str:
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(deflate.compress(content) + deflate.flush()).decode("ascii")
