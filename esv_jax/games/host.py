"""The game of any model that runs outside of JAX: PyTorch, ONNX, scikit-learn, a server."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Game, Host, Link, identity
from esv_jax.games import removals


def log_odds(logits: jax.Array) -> jax.Array:
    """[N, C] -> [N, C], log(p / (1 - p)) of the softmax p of at least two classes."""
    largest = jnp.argmax(logits, axis=1, keepdims=True)
    is_largest = jnp.arange(logits.shape[1])[None] == largest
    rest = jnp.where(is_largest, jax.nn.logsumexp(jnp.where(is_largest, -jnp.inf, logits), axis=1, keepdims=True), 0)
    # Without one that is not the largest the sum keeps its largest term: nothing is lost by the difference.
    power = jnp.exp(logits - logits.max(axis=1, keepdims=True))
    others = jnp.where(is_largest, 1, power.sum(axis=1, keepdims=True) - power)
    return logits - jnp.where(is_largest, rest, logits.max(axis=1, keepdims=True) + jnp.log(others))


LINKS: dict[str, Link] = {
    "softmax": jax.nn.softmax,
    "sigmoid": jax.nn.sigmoid,
    "identity": identity,
    "log-odds": log_odds,
}


def host_game(
    predict: Callable[..., Any],
    *,
    empty: Any = None,
    removal: Any = "nearest",
    link: str | Link = "identity",
    batch_size: int = 32,
    workers: int = 1,
    retries: int = 0,
    check: bool = True,
) -> Game:
    """v(S) = link(predict(model, the video without the frames that are not in S)).

    The model is what `explain` is given as params, whatever it is: nothing need be closed over. It is asked outside of
    JAX, in batches, each coalition once; `explain(..., archive=path)` keeps what it said.

    Args:
      predict: (model, clips [N, T, ...] of NumPy) -> scores [N, C], or [N] of a regression: of NumPy, JAX or PyTorch, a
        list, an object with `logits`, or a dict with one entry or with "logits". A model that gives logits should hand
        them over, and have them turned into worths by `link`: far fewer evaluations are needed.
      empty: float [C], the worth of nobody, as a rule the class prior; None: what the model says when all frames are
        removed, if the removal can do that.
      removal: what is shown in place of removed frames: "nearest" (the nearest kept frame in time), "freeze",
        "resample", "mean", "zero", "blur", "noise"; "delete" (shorter clips, for models that take any length);
        "attention_mask" (predict is given mask [N, T] too); one of `esv_jax.removals`; or a function (frames [T, ...],
        mask bool [N, T]) -> clips [N, ...].
      link: "softmax", "sigmoid", "identity", "log-odds" (of the softmax), or a function of JAX [N, C] -> [N, C].
      batch_size: coalitions in a call; halved when memory does not suffice.
      workers: calls at a time, each in a thread: for servers.
      retries: how often a call is repeated after errors of the connection and time-outs, with growing pauses.
      check: whether the whole video is asked about twice, and a model that does not say the same is refused.

    Raises:
      InputError: an argument is none of these.
    """
    checks.check_positive("batch_size", batch_size)
    checks.check_positive("workers", workers)
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise checks.InputError(f"retries should be an integer of at least 0, found {retries!r}")
    if not callable(predict):
        raise checks.InputError(
            f"predict should be a function (model, clips) -> scores, found {type(predict).__name__}"
        )
    taken = removals.made(removal)
    if isinstance(link, str) and link not in LINKS:
        raise checks.InputError(f"link should be one of {', '.join(LINKS)} or a function, found {link!r}")
    of_logits: Link = LINKS[link] if isinstance(link, str) else link
    if empty is not None:
        empty = checks.scores("empty", empty, probabilities=False)
    elif not taken.of_nobody:
        raise checks.InputError(
            f"empty should be given, the worth of nobody [C]: with the removal {taken.name!r} no clip is of nobody"
        )
    about = f"{_name(predict)}; removal {taken.name}; link {link if isinstance(link, str) else _name(link)}"
    form = Host(batch_size, workers, retries, check, about)
    averaged = taken.draws > 1
    scores = functools.partial(_scores, predict, taken, of_logits if averaged else None)
    return Game(empty, _model_and_video, scores, identity if averaged else of_logits, form)


def _name(function: Any) -> str:
    if isinstance(function, functools.partial):
        given = (_name(value) if callable(value) else str(value) for value in function.args)
        return f"{_name(function.func)}({', '.join(given)})"
    return getattr(function, "__qualname__", type(function).__qualname__)


def _model_and_video(model: Any, video: Any) -> Any:
    return model, np.asarray(video)


def _scores(
    predict: Callable[..., Any], removal: removals.Removal, averaged: Link | None, prepared: Any, mask: np.ndarray
) -> np.ndarray:
    """What the model says of coalitions [N, T], float [N, C]; `averaged` is the link of worths that are means."""
    if not removal.one_size:
        return _of_rows(predict, removal, averaged, prepared, mask)
    sizes = mask.sum(axis=1)
    found: Any = None
    for size in np.unique(sizes):
        rows = np.flatnonzero(sizes == size)
        scores = _of_rows(predict, removal, averaged, prepared, mask[rows])
        found = np.zeros((len(mask), scores.shape[1]), scores.dtype) if found is None else found
        found[rows] = scores
    return found


def _of_rows(
    predict: Callable[..., Any], removal: removals.Removal, averaged: Link | None, prepared: Any, mask: np.ndarray
) -> np.ndarray:
    model, video = prepared
    if removal.clips is None:
        said = predict(model, np.broadcast_to(video[None], (len(mask), *video.shape)), mask)
    else:
        clips = removal.clips(video, mask)
        if len(clips) != removal.draws * len(mask):
            raise checks.InputError(
                f"removal should give a clip for each of {len(mask)} coalitions, found {len(clips)} clips"
            )
        said = predict(model, clips)
    scores = scores_of(said, removal.draws * len(mask))
    if averaged is None:
        return scores
    worths = np.asarray(averaged(jnp.asarray(scores)))
    return worths.reshape(len(mask), removal.draws, -1).mean(axis=1)


def scores_of(said: Any, num_rows: int) -> np.ndarray:
    """The scores [N, C], NumPy floating, in what a model returned.

    Raises:
      InputError: there is not one obvious array of them.
    """
    found = _chosen(said)
    if hasattr(found, "detach"):
        found = with_numpy_dtype(found.detach().cpu()).numpy()
    try:
        array = np.asarray(found)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "fiub" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise checks.InputError(
            f"what the model returns should be scores [{num_rows}, C], found {_told(said)}: return the scores alone"
        )
    if array.shape == (num_rows,):
        array = array[:, None]
    if array.ndim == 3:
        raise checks.InputError(
            f"what the model returns should be scores [{num_rows}, C], found {_told(said)}: choose a time step or a "
            "mean of them, output[:, -1]"
        )
    return np.asarray(checks.model_output("the model", array, num_rows))


def with_numpy_dtype(tensor: Any) -> Any:
    """A tensor of PyTorch as it is, but for one of bfloat16, which NumPy lacks: in float32."""
    return tensor.float() if "bfloat16" in str(getattr(tensor, "dtype", "")) else tensor


def _chosen(said: Any) -> Any:
    logits = getattr(said, "logits", None)
    if logits is not None:
        return logits
    if isinstance(said, Mapping):
        if said.get("logits") is not None:
            return said["logits"]
        return next(iter(said.values())) if len(said) == 1 else None
    if isinstance(said, list | tuple) and any(getattr(part, "ndim", 0) > 1 for part in said):
        return said[0] if len(said) == 1 else None
    return said


def _told(said: Any) -> str:
    """What a model returned, in words."""
    if isinstance(said, Mapping):
        return f"a {type(said).__name__} of {checks.listed(said)}"
    if isinstance(said, tuple | list):
        return f"a {type(said).__name__} of {checks.listed(type(part).__name__ for part in said)}"
    shape = getattr(said, "shape", None)
    return f"{type(said).__name__}" + ("" if shape is None else f" {list(shape)}")
