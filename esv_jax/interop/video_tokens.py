"""Classifiers of videos that can leave tokens out: the removal "tokens" of `torch_game`.

A video's tokens are made once, with their places in time and space, and a coalition is those of its frames: exactly
what the model says of these tokens, and faster than of pixels that stand in for others.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from esv_jax import checks
from esv_jax.base import Game, Link
from esv_jax.games.host import host_game
from esv_jax.games.removals import Removal
from esv_jax.interop import layouts
from esv_jax.interop.evaluation import excess, in_eval


class _Kind(NamedTuple):
    """Where a model makes its tokens, how many stand before those of frames, and whether these are ordered by place."""

    embeddings: str
    num_before: int
    by_place: bool = False


# By `config.model_type` of transformers.
KINDS = {
    "videomae": _Kind("videomae.embeddings", 0),
    "vivit": _Kind("vivit.embeddings", 1),
    "vjepa2": _Kind("vjepa2.encoder.embeddings", 0),
    "timesformer": _Kind("timesformer.embeddings", 1, by_place=True),
}


class _Tokens(NamedTuple):
    """A model, the clip [1, ...] that it is given, its tokens [L, D], and how many frames each time of them has."""

    model: Any
    clip: Any
    tokens: Any
    tubelet: int


def tokens_game(
    *,
    empty: Any,
    link: str | Link,
    layout: str,
    dtype: Any,
    output: Callable[[Any], Any] | None,
    batch_size: int,
    check: bool,
) -> Game:
    """`torch_game(removal="tokens")`; arguments as there."""
    removal = Removal("tokens", None, one_size=True)
    predict = functools.partial(_predict, output)
    game = host_game(predict, empty=empty, removal=removal, link=link, batch_size=batch_size, check=check)
    prepare = functools.partial(_prepared, game.prepare, layout, dtype, output)
    return game._replace(prepare=prepare)


def _prepared(
    prepare: Any, layout: str, dtype: Any, output: Callable[[Any], Any] | None, model: Any, video: Any
) -> Any:
    return prepare(_tokens(model, np.asarray(video), layout, dtype, output), video)


def _tokens(model: Any, video: np.ndarray, layout: str, dtype: Any, output: Callable[[Any], Any] | None) -> _Tokens:
    """The tokens of a video.

    Raises:
      InputError: the model is none of `KINDS`; given its own tokens it does not say what it says.
    """
    torch = checks.require("torch", extra="torch")
    config: Any = getattr(model, "config", None)
    kind = KINDS.get(getattr(config, "model_type", ""))
    attention = getattr(config, "attention_type", "divided_space_time")
    if kind is None or attention != "divided_space_time":
        other = type(model).__name__ if kind is None else f"attention {attention!r}"
        raise checks.InputError(
            f"removal='tokens' is for {', '.join(KINDS)} of transformers (with divided attention), found {other}"
        )
    parameter = next(model.parameters())
    clip = torch.from_numpy(layouts.ordered(video[None], layout)).to(parameter.device, dtype or parameter.dtype)
    size = getattr(config, "tubelet_size", 1)
    tubelet = size if isinstance(size, int) else size[0]
    with in_eval(model), torch.inference_mode():
        tokens = model.get_submodule(kind.embeddings)(clip, *[None] * (config.model_type == "videomae"))[0]
        native = _said(output, model(clip))
    found = _Tokens(model, clip, tokens, tubelet)
    ours = _predict(output, found, None, np.ones((1, len(video)), bool))
    differ = excess(ours[0], native[0])
    if differ is not None:
        raise checks.InputError(
            f"{type(model).__name__} should say the same of its own tokens as of the video, found logits that differ "
            f"by {differ:.3g}: removal='tokens' is not for it"
        )
    return found


def _predict(output: Callable[[Any], Any] | None, of: _Tokens, clips: Any, mask: np.ndarray) -> Any:
    """Logits [N, C] of coalitions bool [N, T] of one size.

    Raises:
      InputError: one of them has a part of the frames that the model sees as one.
    """
    del clips
    torch = checks.require("torch", extra="torch")
    kind = KINDS[of.model.config.model_type]
    num_frames = mask.shape[1]
    times = mask[:, : num_frames // of.tubelet * of.tubelet].reshape(len(mask), -1, of.tubelet)
    if (times.any(axis=2) != times.all(axis=2)).any() or num_frames % of.tubelet:
        raise checks.InputError(
            f"removal='tokens' should be asked about whole tubelets of {of.tubelet} frames, found a part of one: "
            f"esv_jax.grouped(game, esv_jax.players.tubelets(T, {of.tubelet}))"
        )
    num_times, num_places = times.shape[1], (len(of.tokens) - kind.num_before) // times.shape[1]
    number = np.arange(num_times * num_places)
    time = number % num_times if kind.by_place else number // num_places
    kept = times[:, time, 0]
    index = np.nonzero(kept)[1].reshape(len(mask), -1)
    before = np.broadcast_to(np.arange(kind.num_before), (len(mask), kind.num_before))
    rows = torch.from_numpy(np.concatenate([before, index + kind.num_before], axis=1)).to(of.tokens.device)
    shown = of.tokens[rows]
    with in_eval(of.model), torch.inference_mode(), _given(of.model, shown, rows, int(times[0, :, 0].sum())):
        return _said(output, of.model(of.clip))


@contextlib.contextmanager
def _given(model: Any, tokens: Any, places: Any, num_times: int) -> Iterator[None]:
    """The model with these tokens [N, L', D] in place of those that it would make, and told what they are."""
    kind, config = KINDS[model.config.model_type], model.config
    embeddings = model.get_submodule(kind.embeddings)
    hooks, before = [], getattr(config, "num_frames", None)
    embeddings.forward = lambda *_, **__: tokens
    if config.model_type == "timesformer":
        config.num_frames = num_times  # by which it tells time from space
    if config.model_type == "vjepa2":
        hooks = [
            layer.attention.register_forward_pre_hook(
                lambda _, args, named: (args, {**named, "position_mask": places}), with_kwargs=True
            )
            for layer in model.vjepa2.encoder.layer
        ]
    try:
        yield
    finally:
        del embeddings.forward
        for hook in hooks:
            hook.remove()
        if config.model_type == "timesformer":
            config.num_frames = before


def _said(output: Callable[[Any], Any] | None, said: Any) -> Any:
    return said.logits if output is None else output(said)
