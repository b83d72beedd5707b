"""A question about a video as a video-language model is given it: which of its tokens are which frame, which word."""

import inspect
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from esv_jax import checks, fingerprints
from esv_jax.base import Player
from esv_jax.games import players
from esv_jax.games.players import FRAMES

QUESTION, OPTIONS = "question", "options"
ALWAYS = -1
# What stands around a video, or a frame, and means nothing without it.
_WRAPPERS = {"<|vision_start|>", "<|vision_end|>", "<img>", "</img>", "<fake_token_around_image>", "<global-img>"}
_OPTION = re.compile(r"^[ \t]*\(?[A-Z][).:][ \t]+(\S.*?)[ \t]*$", re.MULTILINE)
_ANSWERING = re.compile(r"\bassistant\s*:", re.IGNORECASE)


class Prompt:
    """The prompt of a model of Hugging Face's transformers, one video and one question, with its parts found.

    Attributes:
      inputs: what the processor gave, names to tensors of a batch of one prompt.
      tokenizer: that of the processor; None without one.
      video: what `explain` is given: {"frames": [T, ...]} and, as there are, "question" and "options", texts [W] each.
        T counts what the model sees as one frame, of Qwen-VL two frames, which it merges; with `single_frames`, frames.
      of_frames: of everything that the model sees as one frame the positions of its tokens.
      single_frames: whether frames that the model merges are shown and removed one by one.
      owner: int [L], what each token is a part of: frames as the model sees them, then the words of the modalities
        behind one another; `ALWAYS`.
      is_wrapper: bool [L], tokens that leave with the last frame: vision start and end, a newline.
      is_separator: bool [L], tokens between two frames that leave with the frame behind them, and with the last frame
        before them.
      digest: of all inputs, and of what was found in them.
    """

    def __init__(
        self,
        model: Any,
        inputs: Mapping[str, Any],
        *,
        processor: Any = None,
        frames: Sequence[Sequence[int]] | None = None,
        single_frames: bool = False,
        question: str | None = None,
        options: Sequence[str] | None = None,
    ):
        """Finds the parts of a prompt. Nothing is computed by the model.

        Args:
          model: Qwen2-VL, Qwen2.5-VL, Qwen3-VL, LLaVA-OneVision, LLaVA-NeXT-Video, SmolVLM2, InternVL, VideoLLaMA3, or
            one that is built as they are: its decoder is model.model.language_model (or text_model).
          inputs: what its processor gives of one prompt with one video, of PyTorch.
          processor: that processor, or its tokenizer; without it there are no words.
          frames: of each frame the positions of its tokens in the prompt, where they are not found.
          single_frames: of Qwen-VL, which merges two frames after another: whether they are players one by one. The
            frames of a coalition are merged anew, two after another, the last with itself if need be: T (T + 1) / 2
            pairs are encoded, once.
          question: its text as it stands in the prompt; None: what stands behind the video in the user's turn, up to
            the options.
          options: their texts, without letters, behind the question; None: the lines "A. text" there.

        Raises:
          InputError: the inputs are not of one prompt with one video, its frames are not found, or a text is not in it.
        """
        self.inputs = dict(inputs)
        self.tokenizer = getattr(processor, "tokenizer", processor)
        ids = _checked_ids(model, self.inputs)
        pixels = _pixels(self.inputs)
        placeholders, newline = _placeholders(model.config, ids, self.inputs, pixels.name)
        of_frames = _told(frames, len(ids)) if frames is not None else _split(placeholders, self.inputs, model.config)
        if pixels.values.shape[0] % len(of_frames) if pixels.is_flat else pixels.values.shape[0] != len(of_frames):
            raise checks.InputError(
                f"frames should be those of {pixels.name} {list(pixels.values.shape)}, found {len(of_frames)} of them"
            )
        said = {token: _digitless(self._decoded([token]), token) for token in set(ids.tolist())}
        texts = [said[token] for token in ids.tolist()]
        around, separators = _around(of_frames, ids, texts)
        self.of_frames, self.single_frames = of_frames, single_frames
        self.owner = np.full(len(ids), ALWAYS)
        for frame, (own, more) in enumerate(zip(of_frames, around, strict=True)):
            self.owner[[*own, *more]] = frame
        self.is_separator = np.isin(np.arange(len(ids)), separators)
        self.is_wrapper = np.isin(np.arange(len(ids)), newline)
        if not any(around):
            self._find_wrappers(ids, of_frames[0][0] - 1, -1)
            self._find_wrappers(ids, max([of_frames[-1][-1], *newline]) + 1, 1)
        self.video: dict[str, np.ndarray] = {FRAMES: pixels.values.reshape(len(of_frames), -1)}
        if single_frames:
            self.video[FRAMES] = self.unmerged(pixels.values, model).reshape(2 * len(of_frames), -1)
        self._find_words(ids, of_frames[-1][-1], question, options)
        given = [part for item in sorted(self.inputs.items()) for part in _named(*item)]
        self.digest = fingerprints.of_arrays([*given, self.owner, self.is_wrapper, self.is_separator])

    def frames(self, names: Sequence[str] | None = None) -> tuple[Player, ...]:
        """Every frame a player; `players.segments(len(prompt.video["frames"]), n)` and the like make larger ones."""
        return players.each(len(self.video[FRAMES]), names=names)

    def words(self, modality: str = QUESTION) -> tuple[Player, ...]:
        """Every word of the "question", or of the "options", a player.

        Raises:
          InputError: none were found.
        """
        if modality not in self.video:
            raise checks.InputError(
                f"the prompt should have words of the {modality}, found none: give Prompt a processor, or the text as "
                "it stands in the prompt (question=, options=)"
            )
        return players.each(len(self.video[modality]), modality=modality, names=self.video[modality].tolist())

    def unmerged(self, patches: Any, model: Any) -> Any:
        """Patches [T / 2 h w, C 2 p p] of pairs of frames -> of frames, [T, h w, C, p p].

        Raises:
          InputError: the model merges no pairs.
        """
        vision: Any = getattr(model.config, "vision_config", None)
        if patches.ndim != 2 or getattr(vision, "temporal_patch_size", 1) != 2:
            raise checks.InputError(
                "single_frames should be of a model that merges two frames, as Qwen-VL does, found "
                f"{type(model).__name__}"
            )
        of_pairs = patches.reshape(len(self.of_frames), -1, getattr(vision, "in_channels", 3), 2, vision.patch_size**2)
        return of_pairs.swapaxes(2, 3).swapaxes(1, 2).reshape(-1, *of_pairs.shape[1:3], of_pairs.shape[4])

    def pairs(self, of_frames: np.ndarray) -> np.ndarray:
        """Which pair of frames stands in each place, int [N, T / 2], of coalitions bool [N, T]; -1: none.

        Pairs are numbered as `itertools.combinations_with_replacement(range(T), 2)` gives them. A pair stands where the
        model has its first frame: no two pairs of a coalition begin in one place.
        """
        num_frames = of_frames.shape[1]
        number = np.zeros((num_frames, num_frames), np.int64)
        number[np.triu_indices(num_frames)] = np.arange(num_frames * (num_frames + 1) // 2)
        found = np.full((len(of_frames), num_frames // 2), -1)
        for row, own in zip(found, of_frames, strict=True):
            shown = np.flatnonzero(own)
            first, second = shown[::2], np.append(shown[1::2], shown[-1:] if len(shown) % 2 else [])
            row[first // 2] = number[first, second.astype(np.int64)]
        return found

    def kept(self, masks: Mapping[str, np.ndarray]) -> np.ndarray:
        """Which tokens are shown of coalitions, bool [N, L], of masks [N, entries] of each modality."""
        of_frames = self.pairs(masks[FRAMES]) >= 0 if self.single_frames else masks[FRAMES]
        entries = np.concatenate([of_frames, *(masks[name] for name in self.video if name != FRAMES)], axis=1)
        somebody = np.ones((len(entries), 1), bool)
        kept = np.concatenate([entries, somebody], axis=1)[:, self.owner]
        kept &= of_frames.any(axis=1, keepdims=True) | ~self.is_wrapper
        before = np.cumsum(of_frames, axis=1) - of_frames > 0
        where = np.flatnonzero(self.is_separator)
        kept[:, where] &= before[:, self.owner[where]]
        return kept

    def token_ids(self, text: str | Sequence[int], name: str) -> list[int]:
        """The tokens of an answer; numbers are such already.

        Raises:
          InputError: there are none, or no tokenizer.
        """
        if not isinstance(text, str):
            found = [int(token) for token in text]
        elif self.tokenizer is None:
            raise checks.InputError(f"{name} should be of token ids where Prompt has no processor, found {text!r:.80}")
        else:
            found = self.tokenizer.encode(text, add_special_tokens=False)
        if not found:
            raise checks.InputError(f"{name} should have at least one token, found {text!r:.80}")
        return found

    def _decoded(self, ids: Any) -> str:
        if self.tokenizer is None:
            return ""
        return self.tokenizer.decode(
            [int(i) for i in ids], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )

    def _find_wrappers(self, ids: np.ndarray, start: int, step: int) -> None:
        """Marks what stands around all frames, from `start` outwards."""
        while 0 <= start < len(ids) and self._decoded([ids[start]]).strip() in _WRAPPERS:
            self.is_wrapper[start] = True
            start += step

    def _find_words(self, ids: np.ndarray, last: int, question: str | None, options: Sequence[str] | None) -> None:
        """Words of the question and the options: their texts in `video`, their tokens in `owner`."""
        told = [(QUESTION, question)] * (question is not None) + [(OPTIONS, text) for text in options or ()]
        if self.tokenizer is None:
            if told:
                raise checks.InputError("question and options should come with a processor, found none")
            return
        free = np.flatnonzero((self.owner == ALWAYS) & ~self.is_wrapper & ~self.is_separator)
        behind = free[free > last]
        special = np.isin(ids[behind], self.tokenizer.all_special_ids)
        # Beyond the user's turn there is nothing to be found; without a video first, the question may stand before it.
        turn = behind[: int(np.argmax(special))] if special.any() else behind
        where = free if question is not None or options is not None else turn
        ends = np.array([len(self._decoded(ids[where[: i + 1]])) for i in range(len(where))])
        text = self._decoded(ids[where])
        spans, count = _spans(text, question, options), len(self.of_frames)
        for modality in (QUESTION, OPTIONS):
            names: list[str] = []
            for start, stop in (span for of, span in spans if of == modality):
                for word in re.finditer(r"\S+", text[start:stop]):
                    first, end = start + word.start(), start + word.end()
                    own = where[(ends > first) & (np.append(0, ends)[: len(where)] < end)]
                    own = own[self.owner[own] == ALWAYS]
                    if len(own):
                        self.owner[own] = count + len(names)
                        names.append(word.group())
            if names:
                self.video[modality] = np.array(names)
                count += len(names)


class _Pixels(NamedTuple):
    """What the model sees of the frames: `values` [T, ...], or [T n, ...] patches (`is_flat`)."""

    name: str
    values: np.ndarray
    is_flat: bool


def _named(name: str, value: Any) -> list[Any]:
    if hasattr(value, "detach"):
        value = fingerprints.with_numpy_dtype(value.detach().cpu()).numpy()
    return [name, np.asarray(value)] if np.asarray(value).dtype != object else [name, str(value)]


def _checked_ids(model: Any, inputs: Mapping[str, Any]) -> np.ndarray:
    """Token ids int [L] of inputs that are of one prompt.

    Raises:
      InputError: they are of more, have padding, or lack what the model needs and does not ask for.
    """
    ids = inputs.get("input_ids")
    if ids is None or ids.ndim != 2 or ids.shape[0] != 1:
        found = "none" if ids is None else str(list(ids.shape))
        raise checks.InputError(f"inputs should hold input_ids [1, L] of one prompt, found {found}")
    mask = inputs.get("attention_mask")
    if mask is not None and not bool((mask == 1).all()):
        raise checks.InputError("inputs should be of one prompt without padding, found an attention_mask with zeros")
    takes = inspect.signature(model.forward).parameters
    if "mm_token_type_ids" in takes and "mm_token_type_ids" not in inputs:
        raise checks.InputError(
            "inputs should hold mm_token_type_ids, as the processor gives them: without them the model loses the "
            "places of frames in time and space, and does not say so"
        )
    return ids[0].cpu().numpy()


def _pixels(inputs: Mapping[str, Any]) -> _Pixels:
    name = next((name for name in ("pixel_values_videos", "pixel_values") if inputs.get(name) is not None), None)
    if name is None or ("pixel_values" in inputs and name != "pixel_values"):
        found = "none" if name is None else "images beside it"
        raise checks.InputError(f"inputs should hold one video, pixel_values_videos or pixel_values, found {found}")
    values = _named(name, inputs[name])[1]
    if values.ndim == 5:
        if len(values) != 1:
            raise checks.InputError(f"{name} should be of one video, found {len(values)}")
        values = values[0]
    nothing = np.flatnonzero(~values.reshape(len(values), -1).any(axis=1))
    if len(nothing) and inputs[name].ndim == 5 and name == "pixel_values":
        raise checks.InputError(
            "pixel_values should have no frame of zeros alone, which SmolVLM leaves out without a word, found frame "
            + checks.listed(nothing)
        )
    return _Pixels(name, values, values.ndim == 2)


def _placeholders(config: Any, ids: np.ndarray, inputs: Mapping[str, Any], name: str) -> tuple[np.ndarray, list[int]]:
    """Positions of the tokens that stand for frames, and of those that are a newline behind them."""
    kind = "video" if name == "pixel_values_videos" else "image"
    token = getattr(config, f"{kind}_token_id", None)
    token = getattr(config, f"{kind}_token_index", None) if token is None else token
    found = np.flatnonzero(ids == token)
    if not len(found):
        raise checks.InputError(f"inputs should hold {kind} tokens (id {token}) of the frames, found none")
    if config.model_type == "llava_onevision" and kind == "video":
        return found[:-1], [int(found[-1])]
    return found, []


def _split(placeholders: np.ndarray, inputs: Mapping[str, Any], config: Any) -> list[np.ndarray]:
    """Positions of the tokens of each frame."""
    grid = next((inputs[name] for name in ("video_grid_thw", "image_grid_thw") if inputs.get(name) is not None), None)
    if grid is None:
        values = inputs.get("pixel_values_videos", inputs.get("pixel_values"))
        num_frames = values.shape[1] if values.ndim == 5 else values.shape[0]
        counts = np.full(num_frames, len(placeholders) // num_frames)
    else:
        merge = getattr(config.vision_config, "spatial_merge_size", None)
        merge = inputs["video_merge_sizes"].cpu().numpy() if merge is None else np.full(len(grid), merge)
        grid = grid.cpu().numpy()
        counts = np.repeat(grid[:, 1] * grid[:, 2] // merge**2, grid[:, 0])
        compressed = inputs.get("video_compression_mask")
        if compressed is not None:
            parts = np.split(compressed.cpu().numpy().reshape(-1), np.cumsum(counts)[:-1])
            counts = np.array([part.sum() for part in parts])
    if counts.sum() != len(placeholders) or not counts.all():
        raise checks.InputError(
            f"the prompt's {len(placeholders)} tokens of frames should be found to be those of {len(counts)} frames: "
            "tell whose they are, Prompt(..., frames=[positions of each])"
        )
    return np.split(placeholders, np.cumsum(counts)[:-1])


def _told(frames: Sequence[Sequence[int]], length: int) -> list[np.ndarray]:
    found = [np.asarray(own, np.int64) for own in frames]
    positions = np.concatenate(found) if found else np.zeros(0, np.int64)
    if not all(map(len, found)) or not len(found) or (np.diff(positions) < 1).any() or positions[-1] >= length:
        raise checks.InputError(
            f"frames should be increasing positions within 0..{length - 1}, at least one of each frame, found "
            f"{frames!r:.100}"
        )
    return found


def _digitless(text: str, token: int) -> Any:
    """What a token says but for digits, in which the labels of frames differ; without a tokenizer itself."""
    return re.sub(r"\d", "", text) if text else token


def _around(of_frames: list[np.ndarray], ids: np.ndarray, texts: list[Any]) -> tuple[list[list[int]], list[int]]:
    """Tokens around each frame that are its own (labels, start and end), and those that only separate two frames.

    What follows every frame, the last one too, is its end; what precedes every frame, but for digits, is its label.
    """
    between = [range(a[-1] + 1, b[0]) for a, b in itertools.pairwise(of_frames)]
    around: list[list[int]] = [[] for _ in of_frames]
    if not any(map(len, between)):
        return around, []
    first, last = int(of_frames[0][0]), int(of_frames[-1][-1])
    followed = [*between, range(last + 1, len(ids))]
    end = 0
    while all(end < len(own) for own in followed) and len({int(ids[own[end]]) for own in followed}) == 1:
        end += 1
    for frame, own in enumerate(followed):
        around[frame] += list(own[:end])
    separators = []
    for frame, own in enumerate(between, start=1):
        here, there = _common_end(texts, own[end:], range(first))
        around[frame] += here
        separators += [i for i in own[end:] if i not in here]
        if frame == 1:
            around[0] += there
        around[frame] += [i for i in own[end:] if i not in here]
    return around, separators


def _common_end(texts: list[Any], one: range, other: range) -> tuple[list[int], list[int]]:
    """Positions at the ends of two runs of tokens that say the same but for digits."""
    i = same = len(one)
    j = also = len(other)
    while True:
        here, there = i, j
        while i and texts[one[i - 1]] == "":
            i -= 1
        while j and texts[other[j - 1]] == "":
            j -= 1
        if i < here and j < there:
            same, also = i, j
        if not (i and j and texts[one[i - 1]] == texts[other[j - 1]]):
            return list(one[same:]), list(other[also:])
        i, j = i - 1, j - 1
        same, also = i, j


def _spans(text: str, question: str | None, options: Sequence[str] | None) -> list[tuple[str, tuple[int, int]]]:
    """Where the question and each option stand in a text; of what is not told, where they are found."""
    start = 0 if question is None else _found(text, question, "question", 0)
    asked = (start, start + len(question or ""))
    if options is None:
        found = [(OPTIONS, match.span(1)) for match in _OPTION.finditer(text, asked[1])]
    else:
        found, behind = [], asked[1]
        for option in options:
            # Of equal texts the one that is a line of its own, behind its letter.
            line = re.compile(rf"[).:][ \t]+({re.escape(option)})[ \t]*$", re.MULTILINE).search(text, behind)
            start = line.start(1) if line else _found(text, option, "options", behind)
            behind = start + len(option)
            found.append((OPTIONS, (start, behind)))
    if question is not None:
        return [(QUESTION, asked), *found]
    answering = _ANSWERING.search(text)
    stop = answering.start() if answering else len(text)
    lines = [text.rfind("\n", 0, start) + 1 for _, (start, _) in found]
    return [(QUESTION, (0, min([stop, *lines]))), *found]


def _found(text: str, part: str, name: str, start: int) -> int:
    where = text.find(part, start)
    if where < 0 or not part.strip():
        raise checks.InputError(f"{name} should stand in the prompt's text, found no {part!r:.80} there")
    return where
