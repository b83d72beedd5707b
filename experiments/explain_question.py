"""Explains what a video-language model answers: which frames, and which words of the question, made it say that.

    esv-jax explain_question --model=DIR --video=clip.mp4 --question="What does she take?" \
        --options="a red cup" --options="the hat" --out=out/q
    esv-jax explain_question --model=DIR --video=clip.mp4 --question="What does she do?" --out=out/q
    esv-jax explain_question --model=DIR --video=clip.mp4 --question="Who wins?" --answer=red --answer=blue --out=out/q

DIR is a folder of Hugging Face's transformers, with its processor: Qwen2.5-VL, Qwen3-VL, LLaVA-OneVision, ... With
options the classes are their letters; else they are the answers that are given, or the one that the model generates.

Prints what the model says with the video and without it, then a table that adds up, and the sums of frames and words.
Writes report.png, attribution.npz and attribution.json to the folder --out.
"""

import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import flags

import esv_jax
from esv_jax import checks, files, progress
from esv_jax.base import Attribution, Game, Player
from esv_jax.checks import InputError
from esv_jax.interop import FirstLook, Prompt, first_look, generated
from esv_jax.interop.prompt_game import POSITIONS
from esv_jax.results import figure, table
from esv_jax.results.explanation import class_index, explanation, predicted_class
from esv_jax.results.files import save_json, save_npz
from esv_jax.video import decode
from esv_jax.video.frames import Frames

from . import cli, estimator_flags
from .estimator_flags import SEED

MODEL = cli.DEFINE_path("model", None, "Folder of a video-language model and its processor.", required=True)
VIDEO = cli.DEFINE_path("video", None, "Video file, or folder of images.", required=True)
QUESTION = flags.DEFINE_string("question", None, "What the model is asked.", required=True)
OPTIONS = flags.DEFINE_multi_string("options", [], "An option of a multiple choice, without its letter; repeat it.")
ANSWER = flags.DEFINE_multi_string("answer", [], "An answer to explain, in place of the model's own; repeatable.")
NUM_FRAMES = flags.DEFINE_integer("num_frames", 8, "How many frames of the video the model is shown.", lower_bound=1)
WORDS = flags.DEFINE_bool("words", True, "Whether the words of the question and the options are players too.")
POSITIONS_OF = flags.DEFINE_enum(
    "positions",
    "keep",
    list(POSITIONS),
    "keep: frames stay at their times; close: as if those removed were not filmed.",
)
CLASS_NAME = flags.DEFINE_multi_string("class_name", [], "Explain this option or answer besides the likeliest one.")
MOST_TOKENS = flags.DEFINE_integer("max_new_tokens", 64, "Of an answer that the model generates.", lower_bound=1)
ROWS = flags.DEFINE_integer("rows_at_once", 8, "Coalitions in a call.", lower_bound=1)
ARCHIVE = cli.DEFINE_path("archive", None, "File that keeps every answer, so that none is asked twice.")
OUT = cli.DEFINE_path("out", None, "Folder to write to.", required=True)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def main() -> None:
    out = cli.output_folder(OUT.value)
    if OPTIONS.value and ANSWER.value:
        raise InputError("--options and --answer both say what is explained: give one of them")
    if len(OPTIONS.value) == 1 or len(OPTIONS.value) > len(LETTERS):
        raise InputError(f"--options should be 2 to {len(LETTERS)}, found {len(OPTIONS.value)}")
    frames = decode.sample_frames(VIDEO.value, NUM_FRAMES.value)
    model, processor = _loaded(MODEL.value)
    inputs = _inputs(processor, frames)
    options = OPTIONS.value or None
    prompt = Prompt(model, inputs, processor=processor, question=QUESTION.value, options=options)
    names, asked = _asked(model, inputs, prompt)
    shown = [class_index(names, name) for name in CLASS_NAME.value]
    players = prompt.frames()
    if WORDS.value:
        players += tuple(word for of in ("question", "options") if of in prompt.video for word in prompt.words(of))
    game = esv_jax.prompt_game(prompt, players, positions=POSITIONS_OF.value, batch_size=ROWS.value, **asked)
    look = first_look(game, model, prompt)
    attribution = _explain(game, model, prompt, len(players))
    explained = explanation(
        attribution,
        title=_title(frames),
        frames=frames.indices,
        times=frames.times,
        images=frames.images,
        class_names=names,
        sampled=bool(attribution.sampled),
        players=_lettered(players, len(prompt.video["frames"]), frames.indices),
    )
    classes = list(dict.fromkeys([predicted_class(explained), *shown]))
    sums = {name: of.tolist() for name, of in esv_jax.players.by_modality(explained.values, players).items()}
    try:
        with files.disk_errors(f"the results cannot be written to {OUT.value}"):
            save_npz(out / "attribution.npz", explained)
            save_json(out / "attribution.json", explained, _provenance(look, sums))
            figure.save_report(out / "report.png", explained, classes)
    finally:  # a full disk does not cost the table, nor a closed pipe the files
        print(f"{explained.title}\n\n{_first(names, look)}")
        for c in classes:
            told = ", ".join(f"{name} {of[c]:+.4f}" for name, of in sums.items())
            print(f"\n{table.format_table(explained, c, ascii_only=True)}\nof these: {told}")
    print(f"\nwrote report.png, attribution.npz and attribution.json to {OUT.value}")


def _loaded(folder: str) -> tuple[Any, Any]:
    """The model and its processor, from files of this machine alone.

    Raises:
      InputError: the folder has none that transformers can read.
    """
    transformers = checks.require("transformers", extra="vlm")
    try:
        processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
        model = transformers.AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True, dtype="auto")
    except ImportError as error:  # processors of videos need torchvision
        raise InputError(
            f"--model={folder} needs packages that are missing: pip install 'esv-jax[vlm]' ({files.reason(error)})"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"--model={folder} should be a folder of a video-language model and its processor: {files.reason(error)}"
        ) from error
    return model.eval(), processor


def _inputs(processor: Any, frames: Frames) -> Any:
    """What the model is given of the frames, the question and the options."""
    text = "\n".join([QUESTION.value, *(f"{c}. {o}" for c, o in zip(LETTERS, OPTIONS.value, strict=False))])
    if OPTIONS.value:
        text += "\nAnswer with the letter of the option."
    said = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": text}]}]
    prompt = processor.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    last = frames.times[-1]
    fps = float(frames.indices[-1] / last) if last > 0 else 1.0
    metadata = {
        "total_num_frames": frames.num_frames_in_video,
        "fps": fps,
        "duration": frames.num_frames_in_video / fps,
        "frames_indices": frames.indices.tolist(),
    }
    return processor(
        text=[prompt],
        videos=[list(frames.images)],
        video_metadata=[metadata],
        do_sample_frames=False,
        return_tensors="pt",
    )


def _asked(model: Any, inputs: Any, prompt: Prompt) -> tuple[list[str], dict[str, Any]]:
    """Names of the classes, and what `prompt_game` is told of them."""
    if OPTIONS.value:
        letters = LETTERS[: len(OPTIONS.value)]
        return [f"{c}. {o}" for c, o in zip(letters, OPTIONS.value, strict=True)], {"letters": letters}
    if ANSWER.value:
        return ANSWER.value, {"answers": ANSWER.value}
    answer = generated(model, inputs, max_new_tokens=MOST_TOKENS.value)
    return [prompt.tokenizer.decode(answer, skip_special_tokens=True).strip() or "(nothing)"], {"answers": [answer]}


def _explain(game: Game, model: Any, prompt: Prompt, num_players: int) -> Attribution:
    estimator_flags.check_budget(num_players)
    with progress.bars("evaluations") as bars:
        task = bars.add_task("asking", total=1)

        def tell(so_far: esv_jax.Asked) -> None:
            bars.update(task, completed=so_far.done, total=so_far.wanted)

        return esv_jax.explain(
            estimator_flags.estimator(),
            game,
            model,
            prompt.video,
            key=jax.random.key(SEED.value),
            archive=ARCHIVE.value,
            callback=tell,
        )


def _lettered(players: Sequence[Player], num_seen: int, numbers: np.ndarray) -> list[Player]:
    """Frames by their numbers in the video (models see some as one), words by a letter each."""
    merged = -(-len(numbers) // num_seen)
    found, words = [], 0
    for player in players:
        ((modality, (entry,)),) = player.parts
        if modality == "frames":
            rows = tuple(range(entry * merged, min((entry + 1) * merged, len(numbers))))
            name = "-".join(str(numbers[row]) for row in dict.fromkeys([rows[0], rows[-1]]))
            found.append(Player(name, ((modality, rows),)))
        else:
            found.append(player._replace(name=f"{_letter(words)}) {player.name}"))
            words += 1
    return found


def _letter(number: int) -> str:
    return (_letter(number // 26 - 1) if number >= 26 else "") + LETTERS[number % 26].lower()


def _title(frames: Frames) -> str:
    shown = f"{len(frames.indices)} of {frames.num_frames_in_video} frames"
    places = "at their times" if POSITIONS_OF.value == "keep" else "closed up, as if the others were not filmed"
    name = cli.last_part(MODEL.value)
    return f"{QUESTION.value} {cli.last_part(VIDEO.value)}, {shown}; {name}; frames that are left stand {places}"


def _first(names: Sequence[str], look: FirstLook) -> str:
    """What the video is worth at all, and what rounding may be taken for."""
    lines = [f"{'with the video':>16} {'without':>9} {'gap':>9}"]
    for name, full, blind in zip(names, look.full, look.blind, strict=True):
        lines.append(f"{full:16.4f} {blind:9.4f} {full - blind:+9.4f}  {name}")
    return "\n".join([*lines, f"noise of rounding: {look.noise:.1g}"])


def _provenance(look: FirstLook, sums: dict[str, list[float]]) -> dict[str, Any]:
    return {
        "command": cli.command("explain_question", *sys.argv[1:]),
        "positions": POSITIONS_OF.value,
        "score_without_video": look.blind.tolist(),
        "noise": look.noise,
        "sums": sums,
        "method": {"estimator": estimator_flags.ESTIMATOR.value, **estimator_flags.options(), "seed": SEED.value},
        "versions": cli.versions("av", "pillow", "torch", "transformers"),
    }


if __name__ == "__main__":
    cli.run(main)
