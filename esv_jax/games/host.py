"""The game of any model that runs outside of JAX: PyTorch, ONNX, scikit-learn, a server."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import batches, checks, fingerprints
from esv_jax.base import Game, Host, Link, identity
from esv_jax.games import players, removals
from esv_jax.games.removals import Removal


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
        mask bool [N, T]) -> clips [N, ...]. For a video of several modalities, {"frames": [T, ...], "words": [W]}, of
        which predict is given a dict of clips: one for all, or one of each name, "delete" or such as show something
        when all of a modality is removed.
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
    taken = {name: removals.made(of) for name, of in removal.items()} if isinstance(removal, Mapping) else {}
    of_all = None if taken else removals.made(removal)
    told = ", ".join(f"{name} {of.name}" for name, of in taken.items()) if of_all is None else of_all.name
    used = list(taken.values()) if of_all is None else [of_all]
    if isinstance(link, str) and link not in LINKS:
        raise checks.InputError(f"link should be one of {', '.join(LINKS)} or a function, found {link!r}")
    of_logits: Link = LINKS[link] if isinstance(link, str) else link
    if not callable(of_logits):
        raise checks.InputError(f"link should be one of {', '.join(LINKS)} or a function, found {link!r:.80}")
    if empty is not None:
        empty = checks.scores("empty", empty, probabilities=False)
        _check_classes(link, len(empty))
    elif not all(of.of_nobody for of in used):
        raise checks.InputError(
            f"empty should be given, the worth of nobody [C]: with the removal {told!r} no clip is of nobody"
        )
    num_draws = {of.draws for of in used} - {1}
    if len(num_draws) > 1:
        raise checks.InputError(f"removals of several videos should take equally many, found {sorted(num_draws)}")
    draws = num_draws.pop() if num_draws else 1
    link_told = link if isinstance(link, str) else fingerprints.of_function(link)
    about = f"{fingerprints.of_function(predict)}; removal {told}; link {link_told}"
    of_user = [predict] if isinstance(link, str) else [predict, link]
    code = " ".join([fingerprints.of_code(*of_user), *filter(None, (of.code for of in used))])
    form = Host(batch_size, workers, retries, check, about, code)
    averaged = of_logits if draws > 1 else None
    of_rows = functools.partial(_of_rows, predict, draws, averaged, functools.partial(_check_classes, link))
    scores = functools.partial(_scores, of_rows)
    prepare = functools.partial(_prepared, of_all, taken)
    return Game(empty, prepare, scores, identity if averaged else of_logits, form, players.num_entries)


class _Shown(NamedTuple):
    """A model and what it is shown of a video.

    Attributes:
      clips: mask bool [N, E] -> the arguments of `predict` behind the model.
      one_size: of each modality that is to be asked for one size at a time, its entries.
    """

    model: Any
    clips: Callable[[np.ndarray], tuple]
    one_size: list[slice]


def _prepared(of_all: Removal | None, taken: dict[str, Removal], model: Any, video: Any) -> _Shown:
    """What all coalitions of a video share: what stands in for what is removed."""
    if not isinstance(video, Mapping):
        if of_all is None:
            raise checks.InputError(
                f"video should be of the modalities {checks.listed(taken)}, a removal of each, found one array"
            )
        frames = np.asarray(video)
        of_one = _clips_of(of_all, frames)
        masked = of_all.show is None
        return _Shown(
            model,
            lambda mask: (of_one(mask), mask) if masked else (of_one(mask),),
            [slice(None)] if of_all.one_size else [],
        )
    each = taken if of_all is None else dict.fromkeys(video, of_all)
    if set(each) != set(video):
        raise checks.InputError(
            f"removal should be of the video's modalities {checks.listed(video)}, found {checks.listed(each)}"
        )
    part_of = players.parts_of(players.lengths_of(video))
    of_somebody = [name for name in video if _needs_somebody(each[name])]
    draws = max(of.draws for of in each.values())
    shown = {name: _clips_of(each[name], np.asarray(array)) for name, array in video.items()}

    def clips(mask: np.ndarray) -> tuple:
        for name in of_somebody:
            if not mask[:, part_of[name]].any(axis=1).all():
                raise checks.InputError(
                    f"the removal of {name!r} should say what is left when all of it is removed while another modality "
                    f'is not ("delete", "zero", "mean", ...), found {each[name].name!r}'
                )
        of_each = {name: show(mask[:, part_of[name]]) for name, show in shown.items()}
        if draws > 1:  # as many clips of a modality that has one of a coalition as of those that have several
            of_each = {n: np.repeat(of, draws * len(mask) // len(of), axis=0) for n, of in of_each.items()}
        if not any(of.show is None for of in each.values()):
            return (of_each,)
        return of_each, {name: np.repeat(mask[:, part], draws, axis=0) for name, part in part_of.items()}

    return _Shown(model, clips, [part_of[name] for name, of in each.items() if of.one_size])


def _needs_somebody(removal: Removal) -> bool:
    """Whether it cannot show anything of nobody. Functions of a user's are tried."""
    return not (removal.of_nobody or removal.one_size or removal.show is None or removal.code)


def _clips_of(removal: Removal, frames: np.ndarray) -> Callable[[np.ndarray], Any]:
    """mask bool [N, T] -> as many clips as there should be."""
    if removal.show is None:
        return lambda mask: np.broadcast_to(frames[None], (len(mask), *frames.shape))
    show = removal.show(frames)

    def clips(mask: np.ndarray) -> Any:
        found = show(mask)
        if len(found) != removal.draws * len(mask):
            raise checks.InputError(
                f"removal should give a clip for each of {len(mask)} coalitions, found {len(found)} clips"
            )
        return found

    return clips


def _check_classes(link: Any, num_classes: int) -> None:
    if num_classes == 1 and link in ("softmax", "log-odds"):
        raise checks.InputError(
            f'link={link!r} is for scores of at least two classes, found one: "sigmoid" or "identity" are for one'
        )


def _scores(of_rows: Callable[[_Shown, np.ndarray], np.ndarray], shown: _Shown, mask: np.ndarray) -> np.ndarray:
    """`of_rows` of coalitions [N, E], those of one size together where clips are to be of one."""
    if not shown.one_size:
        return of_rows(shown, mask)
    sizes = np.stack([mask[:, part].sum(axis=1) for part in shown.one_size], axis=1)
    return batches.by_kind(sizes, lambda rows: of_rows(shown, mask[rows]))


def _of_rows(
    predict: Callable[..., Any],
    draws: int,
    averaged: Link | None,
    check_classes: Callable[[int], None],
    shown: _Shown,
    mask: np.ndarray,
) -> np.ndarray:
    """What the model says of coalitions [N, E], float [N, C]; `averaged` is the link of worths that are means."""
    scores = scores_of(predict(shown.model, *shown.clips(mask)), draws * len(mask))
    check_classes(scores.shape[1])
    if averaged is None:
        return scores
    worths = np.asarray(averaged(jnp.asarray(scores)))
    return worths.reshape(len(mask), draws, -1).mean(axis=1)


def scores_of(said: Any, num_rows: int) -> np.ndarray:
    """The scores [N, C], NumPy floating, in what a model returned.

    Raises:
      InputError: there is not one obvious array of them.
    """
    found = _chosen(said)
    if hasattr(found, "detach"):
        found = fingerprints.with_numpy_dtype(found.detach().cpu()).numpy()
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
