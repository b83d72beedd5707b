"""The game of a prompt: the video is encoded once, and a coalition is a slice of what the decoder is given.

One native forward of the model; what its decoder is called with (embeddings, positions, features of deeper layers) is
kept, a row a token. A coalition is some of these rows, with their positions and an attention mask.
"""

import contextlib
import copy
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Game, Link
from esv_jax.explaining.answers import Entries
from esv_jax.games.groups import grouped
from esv_jax.games.host import host_game
from esv_jax.games.players import FRAMES
from esv_jax.games.removals import Removal
from esv_jax.interop.evaluation import excess, in_eval
from esv_jax.interop.prompt import ALWAYS, Prompt

POSITIONS = ("keep", "close")
SCORES = ("sum", "mean", "tokens")


class _Rows(NamedTuple):
    """What a decoder is given, a row a token; of PyTorch. Behind the L tokens of the prompt may be more rows, M in all.

    Attributes:
      embeds: [M, D]. positions: int [R, L], R = 1, or 3 of M-RoPE.
      visual: bool [M], rows to which the first layers add features; deepstack: these, a layer [M, D].
    """

    embeds: Any
    positions: Any
    visual: Any
    deepstack: list[Any]


class _Encoded(NamedTuple):
    """A model and what its decoder is given of a whole prompt."""

    model: Any
    decoder: Any
    prompt: Prompt
    rows: _Rows


class _Shown(NamedTuple):
    """Coalitions: which tokens are shown, bool [N, L], at which positions, int [R, N, L], in which rows, int [N, L]."""

    kept: np.ndarray
    positions: Any
    source: np.ndarray


class _Explained:
    """What is asked of a prompt: `predict` of `host_game`. Its name, which stands in archives, tells it whole."""

    def __init__(self, prompt: Prompt, positions: str, answers: list[list[int]], score: str, cache: bool):
        self.positions, self.answers, self.score, self.cache = positions, answers, score, cache
        frames = "single frames" if prompt.single_frames else "frames"
        what = "letters" if score == "letters" else f"{score} of log p of answers"
        self.__qualname__ = f"prompt {prompt.digest}, {frames}, positions {positions}, {what} {answers}"

    def __call__(self, encoded: _Encoded, shown: Any, masks: Mapping[str, np.ndarray]) -> np.ndarray:
        del shown
        torch = checks.require("torch", extra="vlm")
        kept = encoded.prompt.kept(masks)
        positions = encoded.rows.positions[:, None].expand(-1, len(kept), -1)
        if self.positions == "close":
            positions = _closed(encoded, kept)
        coalitions = _Shown(kept, positions, _source(encoded.prompt, masks[FRAMES]))
        with in_eval(encoded.model), torch.inference_mode():
            if self.score == "letters":
                said = _hidden(encoded, coalitions, 1)
                logits = _head(encoded.model)(said)[:, -1, [token for (token,) in self.answers]]
                return logits.float().cpu().numpy()
            of_tokens = self._of_shared if self.cache else self._of_each
            found = of_tokens(encoded, coalitions)
        if self.score == "tokens":
            return found[0]
        of_answer = np.sum if self.score == "sum" else np.mean
        return np.stack([of_answer(each, axis=1) for each in found], axis=1)

    def _of_each(self, encoded: _Encoded, of: _Shown) -> list[np.ndarray]:
        """log p of the tokens of each answer, float32 [N, A] each; the prompt is read anew for every answer."""
        rows, found = encoded.rows, []
        for answer in self.answers:
            more, behind = _answer(encoded, of.positions, answer)
            nothing = rows.visual.new_zeros(len(answer))
            longer = _Rows(
                _joined(rows.embeds, more),
                rows.positions,
                _joined(rows.visual, nothing),
                [_joined(layer, layer.new_zeros(more.shape)) for layer in rows.deepstack],
            )
            own = np.broadcast_to(len(rows.embeds) + np.arange(len(answer)), (len(of.kept), len(answer)))
            shown = _Shown(
                np.concatenate([of.kept, np.ones_like(own, bool)], axis=1),
                _joined(of.positions, behind, 2),
                np.concatenate([of.source, own], axis=1),
            )
            said = _hidden(encoded._replace(rows=longer), shown, len(answer) + 1)[:, :-1]
            found.append(_log_p(encoded, said, answer))
        return found

    def _of_shared(self, encoded: _Encoded, of: _Shown) -> list[np.ndarray]:
        """`_of_each`, of what the decoder keeps of the prompt."""
        torch = checks.require("torch", extra="vlm")
        given, length = _given(encoded, of)
        prompt = encoded.decoder(**given | {"use_cache": True})
        # Versions of transformers differ in its name.
        name = "cache" if getattr(prompt, "cache", None) is not None else "past_key_values"
        last = prompt.last_hidden_state[torch.arange(len(length)), torch.from_numpy(length - 1)]
        found = []
        for answer in self.answers:
            more, behind = _answer(encoded, of.positions, answer)
            states = encoded.decoder(
                inputs_embeds=more[None].expand(len(length), -1, -1),
                attention_mask=_joined(given["attention_mask"], given["attention_mask"].new_ones(behind.shape[1:]), 1),
                position_ids=behind if len(behind) > 1 else behind[0],
                use_cache=True,
                **{name: copy.deepcopy(prompt[name])},
            ).last_hidden_state
            found.append(_log_p(encoded, _joined(last[:, None], states[:, :-1], 1), answer))
        return found


def prompt_game(
    prompt: Prompt,
    players: Iterable[Any],
    *,
    letters: str | Sequence[str] | None = None,
    answers: Sequence[Any] | None = None,
    score: str = "sum",
    positions: str = "keep",
    link: str | Link | None = None,
    cache: bool = False,
    batch_size: int = 8,
    check: bool = True,
) -> Game:
    """What a video-language model answers when it is shown only some frames, and words, of a prompt.

    For `explain(estimator, game, model, prompt.video)`. The video is encoded once a call; whether the decoder, given
    what the model gave it, says what the model says is checked each time. What is of no player is always shown, and
    the worth of nobody is asked for: with frames as players, the question without a video.

    Args:
      prompt: of the same model.
      players: `prompt.frames()`, `prompt.words("question")`, ... joined with +, or any `esv_jax.players`.
      letters: of a multiple choice, "ABCD" or texts of one token each: C classes, the next token's logits.
      answers: in place of letters: texts or token ids of candidate answers, which are taken as said; a class each.
      score: of answers: "sum" or "mean" of the log p of their tokens, or "tokens": of one answer, each token a class,
        whose values add up to those of the sum.
      positions: "keep": frames stay at their times; "close": as if those that are removed had never been filmed.
      link: None: "softmax" of letters, "identity" of answers; or as for `host_game`.
      cache: of several answers: whether what the decoder keeps of the prompt is shared. Faster, and as exact.
      batch_size, check: as for `host_game`.

    Raises:
      InputError: an argument is none of these; later, the model does not say what its decoder says.
    """
    for name, value, known in (("positions", positions, POSITIONS), ("score", score, SCORES)):
        if value not in known:
            raise checks.InputError(f"{name} should be one of {', '.join(known)}, found {value!r:.80}")
    if (letters is None) == (answers is None):
        raise checks.InputError(
            f"letters or answers should be given, one of them, found {'none' if letters is None else 'both'}"
        )
    if prompt.owner[-1] != ALWAYS or prompt.is_wrapper[-1]:
        raise checks.InputError(
            "the prompt should end with what begins the answer (add_generation_prompt=True), found a word or a frame"
        )
    tokens = [prompt.token_ids(text, "letters" if answers is None else "answers") for text in letters or answers or ()]
    if answers is None:
        score = "letters"
        long = [text for text, own in zip(letters or (), tokens, strict=True) if len(own) > 1]
        if long:
            raise checks.InputError(f"letters should be of one token each, found more in {checks.listed(long)}")
    if not tokens or (score == "tokens" and len(tokens) > 1):
        raise checks.InputError(
            f"{'letters' if answers is None else 'answers'} should be at least one (one alone for score='tokens'), "
            f"found {len(tokens)}"
        )
    predict = _Explained(prompt, positions, tokens, score, cache)
    link = ("softmax" if answers is None else "identity") if link is None else link
    removal = Removal("tokens", None, of_nobody=True)
    game = host_game(predict, removal=removal, link=link, batch_size=batch_size, check=check)

    def prepare(model: Any, video: Any) -> Any:
        same = isinstance(video, Mapping) and list(video) == list(prompt.video)
        if not same or not all(np.array_equal(video[name], own) for name, own in prompt.video.items()):
            raise checks.InputError("the video should be that of the game's prompt, prompt.video, found another")
        return game.prepare(_encoded(prompt, model), video)

    return grouped(game._replace(prepare=prepare), players)


class FirstLook(NamedTuple):
    """What is to be known before values are read.

    Attributes:
      full, blind: float [C], scores of the whole prompt and of the one without the video. What they differ by is what
        the frames did: where it is small, the words alone have the answer.
      noise: by how much a score differs when a coalition is asked alone and in a batch that is filled up: rounding, in
        half precision up to a tenth of log p.
    """

    full: np.ndarray
    blind: np.ndarray
    noise: float


def first_look(game: Game, model: Any, prompt: Prompt) -> FirstLook:
    """Asks a game of `prompt_game` about the video and the question without it, alone and together."""
    form: Any = game.form
    answers = Entries(game, prompt.video)
    blind = [not any(modality == FRAMES for modality, _ in player.parts) for player in form.players]
    mask = answers.of(np.stack([np.ones(len(blind), bool), blind]))
    prepared = game.prepare(model, prompt.video)
    alone, together = (
        np.asarray(game.link(jnp.asarray(np.concatenate([game.logits(prepared, rows) for rows in parts]))))
        for parts in ([mask[:1], mask[1:]], [mask])
    )
    return FirstLook(alone[0], alone[1], float(np.abs(alone - together).max()))


def generated(model: Any, inputs: Mapping[str, Any], *, max_new_tokens: int = 64) -> list[int]:
    """The model's own answer, the likeliest token after token, for `prompt_game(..., answers=[answer])` to hold."""
    torch = checks.require("torch", extra="vlm")
    with in_eval(model), torch.inference_mode():
        said = model.generate(**_on(model, inputs), max_new_tokens=max_new_tokens, do_sample=False)
    return said[0, inputs["input_ids"].shape[1] :].tolist()


def _encoded(prompt: Prompt, model: Any) -> _Encoded:
    """What the decoder is given of the whole prompt.

    Raises:
      InputError: the decoder is not found, or given this does not say what the model says.
    """
    torch = checks.require("torch", extra="vlm")
    inner = getattr(model, "model", model)
    decoder = getattr(inner, "language_model", getattr(inner, "text_model", None))
    if not isinstance(model, torch.nn.Module) or decoder is None:
        raise checks.InputError(
            "the model should be a video-language one of transformers, with model.model.language_model (or "
            f"text_model), found {type(model).__name__}"
        )
    takes = inspect.signature(model.forward).parameters
    last = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
    with in_eval(model), torch.inference_mode():
        rows, said = _called(model, decoder, _on(model, prompt.inputs) | {"use_cache": False} | last)
        native = said.logits[0, -1]
        encoded = _Encoded(model, decoder, prompt, rows)
        everything = np.ones((1, len(rows.embeds)), bool)
        whole = _Shown(everything, rows.positions[:, None], np.arange(len(rows.embeds))[None])
        ours = _head(model)(_hidden(encoded, whole, 1))[0, -1]
        if prompt.single_frames:
            encoded = encoded._replace(rows=_with_pairs(encoded))
    differ = excess(ours, native)
    if differ is not None:
        raise checks.InputError(
            f"the decoder of {type(model).__name__}, given what the model gave it, should say what the model says, "
            f"found logits that differ by {differ:.3g}: prompts of such a model cannot be sliced"
        )
    return encoded


class _Stopped(Exception):
    """What the decoder would be given is known."""


def _called(model: Any, decoder: Any, inputs: Mapping[str, Any], *, ends: bool = False) -> tuple[_Rows, Any]:
    """What the decoder is given when the model is called, and what the model says; nothing where it `ends` there.

    Raises:
      InputError: it is given no embeddings.
    """
    torch = checks.require("torch", extra="vlm")
    given: dict[str, Any] = {}

    def keep(_: Any, args: Any, named: dict[str, Any]) -> None:
        given.update(named)
        if ends:
            raise _Stopped

    hook, said = decoder.register_forward_pre_hook(keep, with_kwargs=True), None
    try:
        with contextlib.suppress(_Stopped):
            said = model(**inputs)
    finally:
        hook.remove()
    if given.get("inputs_embeds") is None:
        raise checks.InputError(f"the decoder of {type(model).__name__} should be given inputs_embeds, found none")
    embeds = given["inputs_embeds"][0]
    positions = given.get("position_ids")
    if positions is None:
        positions = torch.arange(len(embeds), device=embeds.device)[None, None]
    # Of four, the first is of packed texts.
    positions = (positions[-3:] if positions.ndim == 3 else positions[None])[:, 0]
    visual = given.get("visual_pos_masks")
    visual = embeds.new_zeros(len(embeds), dtype=torch.bool) if visual is None else visual[0].to(embeds.device)
    deepstack = []
    for features in given.get("deepstack_visual_embeds") or ():
        deepstack.append(embeds.new_zeros(embeds.shape))
        deepstack[-1][visual] = features.to(embeds)
    return _Rows(embeds, positions, visual, deepstack), said


def _with_pairs(encoded: _Encoded) -> _Rows:
    """The rows of the prompt, and behind them those of every pair of frames, in the order of `Prompt.pairs`.

    As many pairs are encoded at a time as the prompt has places for.
    """
    torch = checks.require("torch", extra="vlm")
    prompt, rows = encoded.prompt, encoded.rows
    patches = prompt.inputs["pixel_values_videos"]
    frames = prompt.unmerged(patches, encoded.model)
    pairs = torch.combinations(torch.arange(len(frames)), with_replacement=True)
    num_places = len(prompt.of_frames)
    tokens = torch.from_numpy(np.concatenate(prompt.of_frames))
    found = []
    for start in range(0, len(pairs), num_places):
        own = pairs[start : start + num_places]
        filled = torch.cat([own, own[:1].expand(num_places - len(own), 2)])
        values = torch.stack([frames[filled[:, 0]], frames[filled[:, 1]]], dim=3).reshape(patches.shape)
        inputs = _on(encoded.model, {**prompt.inputs, "pixel_values_videos": values})
        more, _ = _called(encoded.model, encoded.decoder, inputs, ends=True)
        found.append((more, tokens[: len(own) * len(tokens) // num_places]))
    return _Rows(
        torch.cat([rows.embeds, *(more.embeds[own] for more, own in found)]),
        rows.positions,
        torch.cat([rows.visual, *(more.visual[own] for more, own in found)]),
        [torch.cat([layer, *(m.deepstack[i][own] for m, own in found)]) for i, layer in enumerate(rows.deepstack)],
    )


def _source(prompt: Prompt, of_frames: np.ndarray) -> np.ndarray:
    """In which rows tokens are found, int [N, L]; of frames that are merged anew in those of their pairs."""
    length = len(prompt.owner)
    found = np.tile(np.arange(length), (len(of_frames), 1))
    if prompt.single_frames:
        pairs, count = prompt.pairs(of_frames), len(prompt.of_frames[0])
        for place, tokens in enumerate(prompt.of_frames):
            found[:, tokens] = length + np.maximum(pairs[:, place, None], 0) * count + np.arange(count)
    return found


def _hidden(encoded: _Encoded, of: _Shown, count: int) -> Any:
    """The decoder's last states [N, count, D], of the last `count` of the tokens that are shown."""
    torch = checks.require("torch", extra="vlm")
    given, length = _given(encoded, of)
    states = encoded.decoder(**given).last_hidden_state
    last = torch.from_numpy(length[:, None] - count + np.arange(count)).to(states.device)
    return states.gather(1, last[:, :, None].expand(-1, -1, states.shape[2]))


def _given(encoded: _Encoded, of: _Shown) -> tuple[dict[str, Any], np.ndarray]:
    """What the decoder is called with, and how many tokens there are of each coalition."""
    torch = checks.require("torch", extra="vlm")
    rows, length = encoded.rows, of.kept.sum(axis=1)
    device = rows.embeds.device
    # Behind the tokens of a coalition its batch is filled up with others that are masked.
    order = np.argsort(~of.kept, axis=1, kind="stable")[:, : length.max()]
    index = torch.from_numpy(np.take_along_axis(of.source, order, axis=1)).to(device)
    valid = torch.from_numpy(np.arange(length.max()) < length[:, None]).to(device)
    ordered = torch.from_numpy(order).to(device)[None].expand(len(of.positions), -1, -1)
    positions = of.positions.gather(2, ordered)
    given = {
        "inputs_embeds": rows.embeds[index],
        # Without a mask gaps in positions are taken for the ends of packed texts.
        "attention_mask": valid.long(),
        "position_ids": positions if len(positions) > 1 else positions[0],
        "use_cache": False,
    }
    if rows.deepstack:
        given["visual_pos_masks"] = shown = rows.visual[index] & valid
        given["deepstack_visual_embeds"] = [layer[index][shown] for layer in rows.deepstack]
    return given, length


def _answer(encoded: _Encoded, positions: Any, answer: list[int]) -> tuple[Any, Any]:
    """What the decoder is given of an answer: embeddings [A, D], and positions [R, N, A].

    These go on from the prompt's last token, which is always shown.
    """
    tokens = positions.new_tensor(answer)
    embeds = encoded.decoder.get_input_embeddings()(tokens).to(encoded.rows.embeds.dtype)
    return embeds, positions[:, :, -1:] + positions.new_tensor(range(1, len(answer) + 1))


def _log_p(encoded: _Encoded, states: Any, answer: list[int]) -> np.ndarray:
    """float32 [N, A], of the states [N, A, D] before each token."""
    log_p = _head(encoded.model)(states).float().log_softmax(dim=-1)
    return log_p[:, range(len(answer)), answer].cpu().numpy()


def _closed(encoded: _Encoded, kept: np.ndarray) -> Any:
    """Positions int [R, N, L] of the rows that are kept, as if there were no others."""
    torch = checks.require("torch", extra="vlm")
    positions = encoded.rows.positions
    if len(positions) == 1:
        return torch.from_numpy(np.maximum(kept.cumsum(axis=1) - 1, 0)).to(positions.device)[None]
    found = positions[:, None].repeat(1, len(kept), 1)
    for row, own in enumerate(kept):
        found[:, row, torch.from_numpy(own)] = _of_rope(encoded, own)
    return found


def _of_rope(encoded: _Encoded, own: np.ndarray) -> Any:
    """Where the model places some of a prompt's tokens, whole frames of the video, int [3, n]."""
    torch = checks.require("torch", extra="vlm")
    given, owner = dict(encoded.prompt.inputs), encoded.prompt.owner
    num_frames = len(np.unique(owner[own & (owner >= 0) & (owner < len(encoded.prompt.of_frames))]))
    given["attention_mask"] = torch.ones_like(given["input_ids"])
    for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
        if name in given:
            given[name] = given[name][:, torch.from_numpy(own)]
    for name in ("video_grid_thw", "image_grid_thw"):
        if given.get(name) is not None:
            grid = given[name].clone()
            given[name] = grid[:num_frames]
            if len(grid) == 1 and num_frames:
                given[name][0, 0] = num_frames
            if not num_frames:
                given[name] = None
    takes = inspect.signature(encoded.model.model.get_rope_index).parameters
    found, _ = encoded.model.model.get_rope_index(**{name: given[name] for name in takes if name in given})
    return found[:, 0].to(encoded.rows.positions)


def _head(model: Any) -> Any:
    return model.get_output_embeddings()


def _on(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.to(model.device) if hasattr(value, "to") else value for name, value in inputs.items()}


def _joined(one: Any, other: Any, axis: int = 0) -> Any:
    torch = checks.require("torch", extra="vlm")
    return torch.cat([one, other.to(one.device)], dim=axis)
