"""What the fuzz run reads: valid files of every kind, how the commands read them, and what is right.

A reader's `check(folder, found, right)` compares what was read of changed files with the files themselves, read here in
another way, or with `right`, what was read before the change. It says what is wrong, or nothing.
"""

import contextlib
import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import esv_jax
from esv_jax import models
from esv_jax.data import annotations, feature_store, priors
from esv_jax.models.backbones.frame_cnn import SIZE, FrameCNN
from esv_jax.results import store_files
from esv_jax.saved import model_folder
from esv_jax.saved.game import game_of
from esv_jax.saved.model_folder import Model, ModelCard
from esv_jax.video.frames import NumberInName
from esv_jax.video.preprocess import Preprocess
from tests.results import stores
from tests.training import test_loop

CLASSES = ("run", "jump", "sit")


class Reader(NamedTuple):
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    check: Callable[[Path, Any, Any], str | None]


def make_results(folder: Path) -> None:
    stores.write(folder, {"a": 3, "b": 2, "c": 5}, num_frames=2, sampled=True)
    stores.write(folder, {"a": 3, "b": 2, "c": 5}, num_frames=3, sampled=False)


def read_results(folder: Path) -> dict[int, dict[str, Any]]:
    datasets = {n: esv_jax.results.open(folder, n) for n in esv_jax.results.num_frames_stored(folder)}
    return {n: {name: dataset[name].values for name in dataset} | dataset.attrs for n, dataset in datasets.items()}


def check_results(folder: Path, found: dict, right: dict) -> str | None:
    """Values are the same, whatever the metadata say; a number of frames may be gone with its folder's metadata."""
    for n, dataset in found.items():
        for name, values in right.get(n, {"a number of frames": 0}).items():
            if isinstance(values, np.ndarray) and not np.array_equal(dataset.get(name), values):
                return f"another {name}"
    return None


def read_results_of_writer(folder: Path) -> dict[int, dict[str, Any]]:
    """As a run that goes on, and completes what is missing."""
    make_results(folder)
    return read_results(folder)


def read_sealed_results(folder: Path) -> dict[int, dict[str, Any]]:
    """As of someone who changes metadata and their digests."""
    for group in (folder, *folder.glob(store_files.group_name("*"))):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            names = () if group == folder else (*store_files.VALUES, *store_files.INDEX)
            arrays = [json.loads((group / name / store_files.METADATA_FILE).read_text()) for name in names]
            content = json.loads((group / store_files.METADATA_FILE).read_text())
            content["attributes"][store_files.DIGEST] = store_files.metadata_digest(content, arrays)
            (group / store_files.METADATA_FILE).write_text(json.dumps(content))
    return read_results(folder)


def make_checkpoints(folder: Path) -> None:
    test_loop.train(checkpoints=folder, save_every_s=0.0)


def read_checkpoints(folder: Path) -> Any:
    return test_loop.train(checkpoints=folder, save_every_s=0.0)


def check_checkpoints(folder: Path, found: Any, right: Any) -> str | None:
    """A run that goes on ends with what it would have ended with."""
    same = jax.tree.map(np.array_equal, (found.params, found.state), (right.params, right.state))
    same_history = {name: np.array_equal(found.history.get(name), values) for name, values in right.history.items()}
    return None if all(jax.tree.leaves((same, same_history))) else "another model"


def make_model(folder: Path) -> None:
    """A head on a backbone, which has its own card."""
    module, preprocess = FrameCNN(5, (2, 2, 2, 2)), Preprocess(SIZE + 8, SIZE, (127.5,) * 3, (63.75,) * 3)
    variables = jax.jit(module.init)(jax.random.key(0), np.zeros((1, SIZE, SIZE, 3), np.uint8))
    options: dict[str, Any] = {"feature_dim": 5, "channels": [2, 2, 2, 2]}
    card = ModelCard("frame_cnn", options, 5, preprocess=preprocess)
    backbone = Model(card, module, variables)
    options = {"num_scales": 2, "hidden_dim": 4, "num_classes": 3, "dropout": 0.5, "input_relu": True}
    variables = jax.jit(models.MultiscaleTRN(**options).init)(jax.random.key(0), np.zeros((2, 5), np.float32))
    prior, identity = np.full(3, 1 / 3, np.float32), model_folder.identity(backbone)
    card = ModelCard("multiscale_trn", options, 5, CLASSES, prior, identity, None, {"command": "train"})
    model_folder.save_model(folder, card, variables, backbone=backbone)


def read_model(folder: Path) -> tuple[Model, Any]:
    """A model, and the abstract values of two frames."""
    model = model_folder.load_model(folder)
    if model.backbone is not None:
        size = model.backbone.card.preprocess.size
        images = jax.ShapeDtypeStruct((2, size, size, 3), np.uint8)
        assert jax.eval_shape(model.backbone.module.apply, model.backbone.variables, images).shape == (2, 5)
    game = game_of(model, name=str(folder))
    frames = jax.ShapeDtypeStruct((2, model.card.feature_dim), np.float32)
    explain = lambda variables, frames: esv_jax.explain(esv_jax.exact(), game, variables, frames)  # noqa: E731
    return model, jax.eval_shape(explain, model.variables, frames).values


def read_unsealed_model(folder: Path) -> tuple[Model, Any]:
    """As of someone who changes cards and deletes their digests."""
    for path in (folder / model_folder.CARD_FILE, folder / "backbone" / model_folder.CARD_FILE):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            card = json.loads(path.read_text())
            del card["digest"]
            path.write_text(json.dumps(card))
    return read_model(folder)


def check_model(folder: Path, found: tuple, right: tuple) -> str | None:
    """The model is what the card says, and has the numbers that it had."""
    (model, values), (old, _) = found, right
    said = json.loads((folder / model_folder.CARD_FILE).read_text(encoding="utf-8-sig"))
    card = {**model.card._asdict(), "classes": list(model.card.classes)}
    for name in ("kind", "options", "feature_dim", "classes", "backbone", "provenance"):
        if card[name] != said[name]:
            return f"another {name} than the card's"
    kinds = {name: type(value) for name, value in old.card.options.items()}
    if any(type(value) is not kinds.get(name, type(value)) for name, value in model.card.options.items()):
        return "an option of another type"
    if not all(isinstance(name, str) for name in model.card.classes):
        return "a class name that is no text"
    if model.card.prior is not None and not (model.card.prior.min() >= 0 and abs(model.card.prior.sum() - 1) < 0.01):
        return "priors that are none"
    same = [jax.tree.map(np.array_equal, model.variables, old.variables)]
    if model.backbone is not None:
        same.append(jax.tree.map(np.array_equal, model.backbone.variables, old.backbone.variables))
    if not all(jax.tree.leaves(same)):
        return "other weights"
    return None if values.shape == (2, len(said["classes"])) else "values of another shape"


def make_features(folder: Path) -> None:
    header = feature_store.StoreHeader(4, "float32", CLASSES, {"name": "frame_cnn", "digest": "0" * 16})
    rng = np.random.default_rng(0)
    with feature_store.create_or_append(folder, header) as writer:
        for i, length in enumerate([3, 2, 4]):
            features = rng.normal(size=(length, 4)).astype(np.float32)
            writer.append(f"v{i}", f"v{i}.mp4", CLASSES[i], "test" if i else "train", features)


def read_features(folder: Path) -> tuple[Any, ...]:
    store = feature_store.open_store(folder)
    return store.header, store.clips, store.read(range(len(store.clips)))


def check_features(folder: Path, found: tuple, right: tuple) -> str | None:
    """Every clip has the rows that it had, and the names that its line has."""
    (header, clips, features), (_, old_clips, old_features) = found, right
    said = json.loads((folder / "store.json").read_text(encoding="utf-8-sig"))
    if any(getattr(header, name) != said[name] for name in ("feature_dim", "dtype", "backbone")):
        return "another header than the file's"
    if not all(isinstance(name, str) for name in header.classes):
        return "a class name that is no text"
    if not clips and not (folder / "features.bin").exists():
        return None  # as a store is that was begun
    lines = _rows((folder / "clips.csv").read_bytes().rpartition(b"\n")[0])
    # Stores of older versions have no column of checksums.
    if lines and [[str(value) for value in clip][: len(lines[0])] for clip in clips] != lines[1:]:
        return "other clips than those in the file"
    content = (folder / "features.bin").read_bytes()
    rows = {clip.offset: values for clip, values in zip(old_clips, old_features, strict=True)}
    for clip, values in zip(clips, features, strict=True):
        old = rows.get(clip.offset)
        if old is None or old.tobytes() not in content:
            continue  # the rows themselves were changed, which nothing can tell
        if not (values.dtype == old.dtype and values.shape[1:] == old.shape[1:]):
            return "features of another type or dimension"
    return None


def make_labels(folder: Path) -> None:
    folder.mkdir(parents=True)
    lines = ["path,label,split,person", "a.mp4,run,train,ann", "b/c.mp4,sit,test,bob", '"d, e.avi",jump,,ann']
    (folder / "labels.csv").write_text("\n".join([*lines, ""]))


def read_labels(folder: Path) -> Any:
    return annotations.read_labelled_clips(folder / "labels.csv", folder, hold_out=("person", ["bob"]))


def check_labels(folder: Path, found: Any, _: Any) -> str | None:
    clips, classes = found
    header, *lines = _rows((folder / "labels.csv").read_bytes())
    lines = [dict(zip(header, line, strict=True)) for line in lines if line]
    if [(clip.uid, clip.label) for clip in clips] != [(line["path"].strip(), line["label"].strip()) for line in lines]:
        return "other clips than those in the file"
    if any("\0" in clip.uid for clip in clips):
        return "a path that is none"
    return None if set(classes) == {clip.label for clip in clips} else "other classes than the labels"


def make_class_names(folder: Path) -> None:
    folder.mkdir(parents=True)
    names = {"Opening something": "0", "Closing something": "1", "Öffnen": "2"}
    (folder / "classes.json").write_text(json.dumps(names))
    (folder / "classes.csv").write_text("id,key\n0,open\n1,close\n2,wash\n")


def read_class_names(folder: Path) -> Any:
    return tuple(annotations.read_class_names(folder / name) for name in ("classes.json", "classes.csv"))


def check_class_names(folder: Path, found: Any, _: Any) -> str | None:
    def of_pairs(pairs: list) -> list:
        return pairs

    of_json = json.loads((folder / "classes.json").read_text(encoding="utf-8-sig"), object_pairs_hook=of_pairs)
    header, *lines = _rows((folder / "classes.csv").read_bytes())
    columns = [header.index("name" if "name" in header else "key"), header.index("id")]
    of_csv = [[line[i] for i in columns] for line in lines if line]
    for pairs, names in zip((of_json, of_csv), found, strict=True):
        if len(pairs) != len(names) or not all(
            names[_number(number)] in (name, name.strip()) for name, number in pairs
        ):
            return "other classes than those in the file"
    return None


def make_priors(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "priors.csv").write_text("class,prior\n2,0.25\n0,0.75\n")
    (folder / "counts.csv").write_text("class,count\n1,30\n0,10\n")
    (folder / "list.json").write_text("[0.5, 0.25, 0.25]")
    (folder / "object.json").write_text('{"0": 0.5, "2": 0.5}')


def read_priors(folder: Path) -> Any:
    return {file.name: priors.read_priors(file, len(CLASSES)) for file in sorted(folder.iterdir())}


def check_priors(folder: Path, found: Any, _: Any) -> str | None:
    for name, values in found.items():
        if name.endswith("json"):
            content = json.loads((folder / name).read_text(encoding="utf-8-sig"))
            pairs = list(content.items()) if isinstance(content, dict) else list(enumerate(content))
        else:
            header, *lines = _rows((folder / name).read_bytes())
            value = "prior" if "prior" in header else "count"
            pairs = [(line[header.index("class")], line[header.index(value)]) for line in lines if line]
        expected = np.zeros(len(CLASSES))
        for number, value in pairs:
            if isinstance(value, bool):
                return "a boolean for a number"
            expected[_number(number)] = value
        if name.endswith("csv") and "prior" not in header:
            expected /= expected.sum()
        if not np.allclose(values, expected, atol=1e-6) or abs(values.sum() - 1) > 2e-3:
            return "other priors than those in the file"
    return None


def make_annotations(folder: Path) -> None:
    make_class_names(folder)
    entries = [
        {"id": "78687", "label": "opening a box", "template": "Opening [something]", "placeholders": ["a box"]},
        {"id": "42326", "label": "closing a door", "template": "Closing [something]", "placeholders": ["a door"]},
    ]
    (folder / "train.json").write_text(json.dumps(entries))


def read_annotations(folder: Path) -> Any:
    return annotations.read_labelled_clips(folder / "train.json", folder, classes=folder / "classes.json")


def check_annotations(folder: Path, found: Any, _: Any) -> str | None:
    entries = json.loads((folder / "train.json").read_text(encoding="utf-8-sig"))
    clips, classes = found
    said = [(entry["id"], entry["template"].replace("[", "").replace("]", "")) for entry in entries]
    if [(clip.uid, clip.label) for clip in clips] != said or not {label for _, label in said} <= set(classes):
        return "other clips than those in the file"
    return "an id that is no name" if any(not clip.uid or "\0" in clip.uid for clip in clips) else None


def make_epic(folder: Path) -> None:
    """One video is a file, another one a folder."""
    make_class_names(folder)
    columns = "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,start_frame,stop_frame"
    lines = [
        f"{columns},narration,verb_class,noun_class",
        "P01_01_0,P01,P01_01,00:00:00.14,00:00:03.37,8,202,open door,1,0",
        'P01_02_1,P01,P01_02,00:01:04.37,01:00:06.17,262,370,"turn, on",2,7',
    ]
    (folder / "train.csv").write_text("\n".join([*lines, ""]))
    (folder / "P01_01.MP4").write_text("")
    (folder / "P01_02").mkdir()
    (folder / "P01_02" / "frame_0000000262.jpg").write_text("")


def read_epic(folder: Path) -> Any:
    return annotations.read_labelled_clips(folder / "train.csv", folder, classes=folder / "classes.csv", head="verb")


def check_epic(folder: Path, found: Any, _: Any) -> str | None:
    header, *lines = _rows((folder / "train.csv").read_bytes())
    lines = [dict(zip(header, line, strict=True)) for line in lines if line]
    clips, classes = found
    for clip, line in zip(clips, lines, strict=True):
        if isinstance(clip.start, NumberInName):
            expected: tuple = _number(line["start_frame"]), _number(line["stop_frame"]) + 1
        else:
            times = [line[name].strip().split(":") for name in ("start_timestamp", "stop_timestamp")]
            expected = tuple(float(h) * 3600 + float(m) * 60 + float(s) for h, m, s in times)
        if not np.allclose((clip.start, clip.stop), expected, rtol=0, atol=1e-6):
            return "another part than that in the file"
        if clip.uid != line["narration_id"].strip() or clip.label != classes[_number(line["verb_class"])]:
            return "another action than that in the file"
    return None


def _rows(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))


def _number(text: Any) -> int:
    """A class number, which is written with digits alone."""
    if isinstance(text, bool) or not re.fullmatch(r" *-?[0-9]+ *", str(text)):
        raise ValueError(f"{text!r} passes as a whole number")
    return int(text)


READERS = {
    "results": Reader(make_results, read_results, check_results),
    "results_writer": Reader(make_results, read_results_of_writer, check_results),
    "results_sealed": Reader(make_results, read_sealed_results, check_results),
    "checkpoints": Reader(make_checkpoints, read_checkpoints, check_checkpoints),
    "model": Reader(make_model, read_model, check_model),
    "model_unsealed": Reader(make_model, read_unsealed_model, check_model),
    "features": Reader(make_features, read_features, check_features),
    "labels": Reader(make_labels, read_labels, check_labels),
    "class_names": Reader(make_class_names, read_class_names, check_class_names),
    "priors": Reader(make_priors, read_priors, check_priors),
    "annotations": Reader(make_annotations, read_annotations, check_annotations),
    "epic": Reader(make_epic, read_epic, check_epic),
}
