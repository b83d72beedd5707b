"""Video-language models of random weights: errors beside shap and shapiq at equal evaluations, and what a slice saves.

    python -m tests.slow.questions errors      # 12 joint players, 256 evaluations, each small model of the tests
    python -m tests.slow.questions errors --range=0.02  # their decoders with transformers' own smaller weights
    python -m tests.slow.questions speed       # of a Qwen2.5-VL of 46 million weights, and of classifiers
    python -m tests.slow.questions overhead    # seconds outside of the model at 512 evaluations

Prints tables. Errors are relative RMSE, sqrt(mean (found - exact)^2 / mean exact^2), of the likeliest letter, the
median over seeds; exact values are of all 2^12 coalitions. Seconds are medians, on one thread.
"""

import argparse
import statistics
import time
from typing import Any

import jax
import numpy as np
import torch

import esv_jax
from esv_jax import players
from esv_jax.base import identity
from esv_jax.benchmarks import black_box, host_models, peers
from esv_jax.coalitions import masks
from esv_jax.interop import Prompt
from tests.interop import test_video_tokens, vlms

EVALUATIONS, SEEDS, ROUNDS = 256, 7, 9
LEFT_OUT = ("ProxySPEX", "ShaplEIG", "captum")
# Mid-size: 16 frames of 112 x 112, 8 x 16 tokens of them.
WIDER = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 8}


def joint(prompt: Prompt) -> tuple[esv_jax.Player, ...]:
    """Four segments, five words of the question, three parts of the options."""
    segments = players.segments(len(prompt.video["frames"]), 4)
    return segments + prompt.words("question") + players.between(6, [3, 5], modality="options")


def errors() -> None:
    found, _ = peers.available()
    others = {name: peer for name, peer in found.items() if not any(part in name for part in LEFT_OUT)}
    print("| model | esv_jax | best of the others | ratio |\n|---|--:|---|--:|")
    for kind in vlms.MAKERS:
        case = vlms.case(kind)
        prompt = Prompt(case.model, case.inputs(range(len(vlms.FRAMES) // case.merged)), processor=case.tokenizer)
        game = esv_jax.prompt_game(prompt, joint(prompt), letters="ABC", batch_size=64)
        scores = np.asarray(esv_jax.worths(game._replace(link=identity), case.model, prompt.video, masks.every(12)))
        empty = np.asarray(jax.nn.softmax(scores[0]))
        of_table = esv_jax.host_game(_look_up, empty=empty, removal="attention_mask", link="softmax", batch_size=256)
        table = host_models.Table(scores, empty, of_table)
        target, nothing = int(scores[-1].argmax()), np.zeros((12, 1))
        exact = np.asarray(esv_jax.explain(esv_jax.exact(), of_table, table.of, nothing).values)[:, target]

        def error(values: np.ndarray, exact: np.ndarray = exact) -> float:
            return float(np.sqrt(((values - exact) ** 2).mean() / (exact**2).mean()))

        ours, theirs = [], {name: list[float]() for name in others}
        worths, listener = table.worths(target), peers.Listener(lambda text: None)
        for seed in range(SEEDS):
            asked = black_box.Counted(table.of, EVALUATIONS)
            out = host_models.explained(of_table, asked, nothing, EVALUATIONS, seed)
            ours.append(error(np.asarray(out.values)[:, target]))
            for name, peer in others.items():
                counted = black_box.Counted(lambda rows, w=worths: w[host_models.index(rows)], EVALUATIONS)
                values = listener.run(name, peer, counted, 12, EVALUATIONS, seed)
                theirs[name].append(np.inf if values is None else error(values))
        medians = {name: statistics.median(all_of) for name, all_of in theirs.items()}
        best, own = min(medians, key=medians.__getitem__), statistics.median(ours)
        print(f"| {kind} | {own:.3g} | {medians[best]:.3g} {best} | {own / medians[best]:.2f} |", flush=True)


def _look_up(of: Any, clips: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return of(mask)


def seconds(ask: Any) -> float:
    """Median milliseconds of a call."""
    ask()
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken)


def _mid_size() -> tuple[vlms.Case, Prompt, Any]:
    frames = np.random.default_rng(0).normal(size=(16, 3, 112, 112)).astype(np.float32)
    text = vlms.LM | WIDER | {"num_key_value_heads": 4}
    case = vlms.case("qwen2_5_vl", text=text, patch=14, vision={**WIDER, "out_hidden_size": 512, "depth": 6})
    inputs = case.inputs(range(8), frames=frames)
    return case, Prompt(case.model, inputs, processor=case.tokenizer), frames


def speed() -> None:
    torch.set_num_threads(1)
    case, prompt, frames = _mid_size()
    print(f"{sum(p.numel() for p in case.model.parameters()) / 1e6:.0f} million weights, {len(prompt.owner)} tokens")
    shown = np.array([0, 2, 3, 6])
    mask = np.ones((1, 8 + 5 + 6), bool)
    mask[0, :8] = np.isin(range(8), shown)
    game = esv_jax.prompt_game(prompt, prompt.frames(), letters="ABC")
    prepared = game.prepare(case.model, prompt.video)
    blank = frames.copy()
    blank[vlms.pairs([i for i in range(8) if i not in shown])] = 0
    few, replaced = case.inputs(shown, frames=frames), case.inputs(range(8), frames=blank)
    with torch.inference_mode():
        print("ms for 4 of 8 pairs of frames:")
        print(f"  slice {seconds(lambda: game.logits(prepared, mask)):.0f}")
        print(f"  encoded again {seconds(lambda: case.model(**few, logits_to_keep=1)):.0f}")
        print(f"  replaced pixels {seconds(lambda: case.model(**replaced, logits_to_keep=1)):.0f}")
    answers = ["a red cup", "the hat", "nothing", "her coat"]
    for cache in (False, True):
        game = esv_jax.prompt_game(prompt, prompt.frames(), answers=answers, cache=cache)
        prepared = game.prepare(case.model, prompt.video)
        print(f"ms for four answers, prefix {'shared' if cache else 'anew'}: {_asked(game, prepared, mask):.0f}")
    for kind in test_video_tokens.KINDS:
        size = test_video_tokens.TUBELET.get(kind, 2)
        model, video = classifier(kind)
        found = []
        for count in (1, 4, 8):
            of = np.repeat(np.arange(8)[None] < count, size, axis=1)
            tokens = esv_jax.torch_game(empty=test_video_tokens.EMPTY, removal="tokens")
            pixels = esv_jax.torch_game(empty=test_video_tokens.EMPTY, removal="mean")
            found += [_asked(game, game.prepare(model, video), of) for game in (tokens, pixels)]
        print(
            f"{kind}, ms of tokens (replaced pixels): "
            + ", ".join(
                f"{count} of 8: {a:.1f} ({b:.1f})"
                for count, a, b in zip((1, 4, 8), found[::2], found[1::2], strict=True)
            )
        )


def _asked(game: Any, prepared: Any, mask: np.ndarray) -> float:
    return seconds(lambda: game.logits(prepared, mask))


def classifier(kind: str) -> tuple[Any, np.ndarray]:
    """Eight times of 49 tokens, six layers of 192."""
    wide = {"hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 4}
    frames = 8 * test_video_tokens.TUBELET.get(kind, 2)
    of_frames = {"frames_per_clip": frames, "crop_size": 112} if kind == "vjepa2" else {"num_frames": frames}
    of_frames |= {} if kind == "vjepa2" else {"image_size": 112, "intermediate_size": 768}
    video = np.random.default_rng(0).normal(size=(frames, 3, 112, 112)).astype(np.float32)
    return test_video_tokens.made(kind, **wide, **of_frames), video


def overhead() -> None:
    """Of the whole of a call but for the model's own time, in a process that has not compiled anything."""
    torch.set_num_threads(1)
    case = vlms.case("qwen2_5_vl")
    prompt = Prompt(case.model, case.inputs(range(4)), processor=case.tokenizer)
    inside = [0.0]
    decoder = case.model.model.language_model
    forward = decoder.forward

    def timed(*args: Any, **named: Any) -> Any:
        start = time.perf_counter()
        said = forward(*args, **named)
        inside[0] += time.perf_counter() - start
        return said

    decoder.forward = timed
    game = esv_jax.prompt_game(prompt, joint(prompt), letters="ABC")
    for name in ("first", "second"):
        inside[0], start = 0.0, time.perf_counter()
        estimator = esv_jax.recommended(max_evaluations=512)
        out = esv_jax.explain(estimator, game, case.model, prompt.video, key=jax.random.key(0))
        np.asarray(out.values)
        taken = time.perf_counter() - start
        print(
            f"{name} call: {taken:.2f} s for {int(out.num_evaluations)} evaluations, {taken - inside[0]:.2f} s outside"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["errors", "speed", "overhead"])
    parser.add_argument("--range", type=float, default=vlms.LM["initializer_range"], help="deviation of weights")
    given = parser.parse_args()
    vlms.LM["initializer_range"] = given.range
    {"errors": errors, "speed": speed, "overhead": overhead}[given.part]()
