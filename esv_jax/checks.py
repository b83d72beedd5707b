"""Errors a user can meet: their types and their wording (expected against found), and the tests that raise them.

Every deliberate error of the package is an `InputError`: one clear sentence that names the argument or file, what was
expected and what was found. Anything else that escapes is a bug of ours and keeps its traceback.
"""

import collections
import functools
import importlib
import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from types import FunctionType, MethodType, ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# How deep an array may hang on a model's function to be found: object, attribute, container, entry, twice.
HELD_DEPTH = 8
# Letters of an error; a path alone may have a thousand.
LONGEST_SENTENCE = 2000
# The most coalitions that a plan may hold.
MOST_COALITIONS = 2**24
# Letters of a name that an error quotes.
LONGEST_NAME = 80
# Priors are rounded when they are written.
PROBABILITY_TOLERANCE = 0.01


class InputError(ValueError):
    """A mistake in what the user gave us, told in one sentence.

    What it quotes may hold anything: what cannot be printed is escaped, and the end of what is too long left out.
    """

    def __init__(self, sentence: str):
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in sentence)
        super().__init__(shown if len(shown) <= LONGEST_SENTENCE else f"{shown[:LONGEST_SENTENCE]}...")


class MissingExtraError(InputError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


def require(module: str, *, extra: str | None = None) -> ModuleType:
    """Imports `module` or says which extra of esv_jax installs it; where there is none, the package's own name.

    Raises:
      MissingExtraError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        install = f"'esv-jax[{extra}]'" if extra else package
        raise MissingExtraError(
            f"the package '{package}' is needed for this and is not installed: pip install {install}"
        ) from error


def version(package: str) -> str:
    """The installed version of a package, or "not installed"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def shown(name: Any) -> str:
    """A name of a user's in a sentence: at most `LONGEST_NAME` letters, escaped if some cannot be printed."""
    text = str(name)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}..."


def listed(items: Iterable[Any], limit: int = 3) -> str:
    """The items of a list in a sentence: the first `limit` of them, and how many there are besides."""
    names = list(items)
    first = ", ".join(map(shown, names[:limit]))
    return f"{first} and {len(names) - limit:,} more" if len(names) > limit else first


def repeated(items: Iterable[Any]) -> list[Any]:
    """Those of the items that come more than once, each once, in their order."""
    return [item for item, count in collections.Counter(items).items() if count > 1]


def check_shape(name: str, array: Any, expected: Sequence[int | str]) -> None:
    """Raises InputError unless `array` has the shape `expected`; letters ("T", "D") stand for any length.

    Static: works on tracers, at trace time.
    """
    shape = np.shape(array)
    fits = len(shape) == len(expected) and all(
        isinstance(e, str) or e == s for e, s in zip(expected, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(e) for e in expected)
        found = ", ".join(str(s) for s in shape)
        raise InputError(f"{name} should have shape [{wanted}], found [{found}]")


def check_floating(name: str, array: Any) -> None:
    """Raises InputError unless `array` holds floating point numbers. Static."""
    dtype = jnp.result_type(array)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"{name} should be floating point, found {dtype}")


def check_positive(name: str, value: int) -> None:
    """Raises InputError unless `value` is an integer >= 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} should be an integer of at least 1, found {value!r}")


def check_budget(name: str, value: int, most: int = MOST_COALITIONS) -> None:
    """Raises InputError unless `value` is a number of coalitions that one plan may hold."""
    check_positive(name, value)
    if value > most:
        raise InputError(f"{name} should be at most {most:,}, found {value:,}")


def check_finite(name: str, array: Any) -> None:
    """Raises InputError if `array` (concrete, not traced) holds a NaN or an infinity, with how many and where first."""
    values = np.asarray(array)
    bad = ~np.isfinite(values)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"{name} should be finite, found {int(bad.sum())} NaN or infinite values of {values.size}, "
            f"the first at index {first}"
        )


def check_for_host(**given: Any) -> None:
    """Raises InputError if one of these arguments is given, to a game that is not on the host."""
    for name, value in given.items():
        if value is not None:
            raise InputError(f"{name} is for host games (esv_jax.host_game), found another game")


def check_concrete(name: str, value: Any, advice: str) -> None:
    """Raises InputError if `value` is a tracer where the host has to read it; `advice` says what to do instead."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)):
        raise InputError(f"{name} is traced (inside jax.jit or jax.vmap) but is needed on the host: {advice}")


def check_pure(name: str, function: Any) -> None:
    """Raises InputError if a model's function is bound to arrays, of its object or of what it closes over.

    A compiled program would keep them: it would not see when they change. Flax modules hold no arrays and pass.
    """
    found = _array_held(function, 0, set())
    if found is not None:
        raise InputError(
            f"{name} holds arrays of its own ({found}), which a compiled program would not see change: pass them as "
            f"params, {name} = lambda params, x: ..."
        )


def _array_held(value: Any, depth: int, seen: set[int]) -> str | None:
    """Where an array hangs on a function or object, in words; None where none does."""
    if depth > HELD_DEPTH or id(value) in seen or isinstance(value, type | ModuleType | str | bytes | jax.core.Tracer):
        return None
    seen.add(id(value))
    if isinstance(value, np.ndarray | np.generic | jax.Array) or type(value).__module__.partition(".")[0] == "torch":
        return f"of the type {type(value).__name__}"
    parts: list[tuple[str, Any]]
    if isinstance(value, Mapping):
        parts = [(f"[{key!r}]", held) for key, held in value.items()]
    elif isinstance(value, list | tuple | set | frozenset | collections.deque):
        parts = [("an entry", held) for held in value]
    elif isinstance(value, functools.partial):
        parts = [("an argument", held) for held in (value.func, *value.args, *value.keywords.values())]
    elif isinstance(value, MethodType):
        parts = [(type(value.__self__).__name__, value.__self__), (value.__name__, value.__func__)]
    elif isinstance(value, FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        parts = [(variable, cell.cell_contents) for variable, cell in cells if is_filled(cell)]
        defaults = (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
        # What it wraps is among its attributes.
        parts += [("a default", held) for held in defaults] + list(value.__dict__.items())
    else:
        slots = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ()) if hasattr(value, name)]
        of_classes = [item for cls in type(value).__mro__[:-1] for item in vars(cls).items() if not callable(item[1])]
        parts = [
            *getattr(value, "__dict__", {}).items(),
            *((name, getattr(value, name)) for name in slots),
            *of_classes,
        ]
        # What a compiled function or another wrapper calls.
        parts += [("what it wraps", value.__wrapped__)] if hasattr(value, "__wrapped__") else []
    for part, held in parts:
        found = _array_held(held, depth + 1, seen)
        if found is not None:
            return f"{part}, {found}" if depth else f"{part}: {found}"
    return None


def is_filled(cell: Any) -> bool:
    """Whether a variable that a function closes over has a value yet."""
    try:
        cell.cell_contents  # noqa: B018 (raises where there is nothing)
    except ValueError:
        return False
    return True


def model_output(name: str, array: Any, num_rows: int, num_classes: int | str = "C") -> Any:
    """`array` if it is floating point [num_rows, C], in float32 if it is less precise, else InputError. Static."""
    if not isinstance(array, np.ndarray | jax.Array):
        raise InputError(
            f"what {name} returns should be one array of scores [{num_rows}, {num_classes}], found "
            f"{type(array).__name__}: return the scores alone"
        )
    check_shape(f"what {name} returns", array, (num_rows, num_classes))
    check_floating(f"what {name} returns", array)
    return array.astype(jnp.float32) if jnp.finfo(array.dtype).bits < 32 else array


def call_model(name: str, function: Any, params: Any, inputs: Any, num_rows: int, num_classes: int | str = "C") -> Any:
    """`model_output` of function(params, inputs); a function that JAX cannot trace is told what to do instead."""
    try:
        found = function(params, inputs)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        if isinstance(error, InputError) or "tracer" not in f"{type(error).__name__} {error}".lower():
            raise
        raise InputError(
            f"{name} should be a function that JAX can trace, found one that needs numbers (of NumPy, PyTorch or plain "
            f"Python; {str(error).splitlines()[0]}): explain it as a esv_jax.host_game"
        ) from error
    return model_output(name, found, num_rows, num_classes)


def scores(name: str, array: Any, *, probabilities: bool) -> Any:
    """`array`, or as an array what is given as numbers, if it is a vector of class scores, float [C].

    Args:
      name: of the argument.
      array: NumPy arrays are copied; a traced array is checked for its shape and dtype alone.
      probabilities: whether they should be such: none negative, and their sum 1.

    Raises:
      InputError: it is not, or not finite.
    """
    array = own(name, np.asarray(array) if isinstance(array, list | tuple) else array)
    check_shape(name, array, ("C",))
    check_floating(name, array)
    if isinstance(array, jax.core.Tracer):
        return array
    if isinstance(array, np.ndarray):
        array.flags.writeable = False
    values = np.asarray(jax.device_get(array), np.float64)
    check_finite(name, values)
    if probabilities and ((values < 0).any() or abs(values.sum() - 1) > PROBABILITY_TOLERANCE):
        raise InputError(
            f"{name} should be probabilities, the share of every class: none negative and of sum 1, found the least "
            f"{values.min():.4g} and the sum {values.sum():.6g}"
        )
    return array


def own(name: str, tree: Any) -> Any:
    """A pytree whose arrays are ours: those of the host that can be written to are copied, for a device may read them
    after the call.

    PyTorch tensors, tables and other things that NumPy takes for arrays of numbers become such; big-endian numbers
    become native ones, long doubles doubles. Arrays of JAX stay as they are.

    Raises:
      InputError: a masked array, or one of something else than numbers.
    """

    if all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(tree)):
        return tree

    def of_leaf(leaf: Any) -> Any:
        if leaf is None or isinstance(leaf, jax.Array | bool | int | float | complex):
            return leaf
        if type(leaf) is np.ndarray and leaf.flags.owndata and not leaf.flags.writeable and leaf.dtype.isnative:
            return leaf
        if isinstance(leaf, np.ma.MaskedArray):
            raise InputError(
                f"{name} should be a plain array, found a masked one: fill in what is masked, or leave it out"
            )
        try:
            array = np.array(leaf.detach().cpu().numpy() if hasattr(leaf, "detach") else leaf)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{name} should be arrays of numbers, found {type(leaf).__name__}: {error}") from error
        if array.dtype == np.longdouble:
            array = array.astype(np.float64)
        are_numbers = array.dtype.kind in "biufc" or jnp.issubdtype(array.dtype, jnp.number)
        if not are_numbers:
            raise InputError(f"{name} should be arrays of numbers, found {type(leaf).__name__} of {array.dtype}")
        native = array.dtype.newbyteorder("=") if array.dtype.kind in "iufc" else array.dtype
        return array.astype(native, copy=False)

    return jax.tree.map(of_leaf, tree)


def own_modalities(video: Any) -> Any:
    """`own_video` of a video for a model on the host: of each modality of a mapping; words stay words.

    Raises:
      InputError: as `own`.
    """
    if not isinstance(video, Mapping):
        return own_video("video", video)
    found = {}
    for name, part in video.items():
        if not isinstance(name, str):
            raise InputError(f"video should have names of modalities, found {name!r:.80}")
        is_text = isinstance(part, np.ndarray) and part.dtype.kind in "SU"
        is_text |= isinstance(part, list | tuple) and all(isinstance(word, str) for word in part)
        found[name] = np.array(part) if is_text else own_video(f"video[{name!r}]", part)
    return found


def own_video(name: str, video: Any) -> Any:
    """`own` of a video (or videos, or masks), of which a list or tuple is one array, not a pytree."""
    own_frames = own(name, video)
    if type(video) not in (list, tuple):
        return own_frames
    of_jax = any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(video))
    try:
        return jnp.asarray(own_frames) if of_jax else np.asarray(own_frames)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} should hold frames of one shape, found a {type(video).__name__}: {error}") from error
