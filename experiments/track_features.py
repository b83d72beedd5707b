"""Makes a feature store of tracks of a point: every moment is a frame, its features are made of its position.

    esv-jax track_features --tracks=point_history.csv --class_names=stop,clockwise,counter,move \\
        --out=out/features

Lines of the csv are a class number and x,y of every moment. Blocks of lines are held out, as the split "test" (and
others as "validation", with --validation); how, and what the features are, is said in esv_jax/data/point_tracks.py. Run
again after an interruption, it goes on where it stopped.
"""

from absl import flags

from esv_jax.checks import InputError
from esv_jax.data import feature_store, point_tracks

from . import cli

TRACKS = cli.DEFINE_path("tracks", None, "csv of tracks.", required=True)
CLASS_NAMES = flags.DEFINE_list("class_names", None, "Names of the classes 0, 1, ...", required=True)
VALIDATION = flags.DEFINE_bool("validation", False, "Hold out another block of lines in five, to select models by.")
OUT = cli.DEFINE_path("out", None, "Folder of the feature store.", required=True)


def main() -> None:
    tracks, names = point_tracks.read_tracks(TRACKS.value, validation=VALIDATION.value), tuple(CLASS_NAMES.value)
    if tracks.label.min() < 0 or tracks.label.max() >= len(names):
        raise InputError(
            f"--class_names names {len(names)} classes, but {TRACKS.value} has the classes "
            f"{tracks.label.min()}..{tracks.label.max()}"
        )
    features = point_tracks.features_of(tracks.points)
    header = feature_store.StoreHeader(feature_dim=features.shape[-1], dtype="float32", classes=names)
    with feature_store.create_or_append(OUT.value, header) as writer:
        for moments, label, line, split in zip(features, tracks.label, tracks.line, tracks.split, strict=True):
            uid = f"line {line}"
            if uid not in writer.done:
                writer.append(uid, "", names[label], str(split), moments)
    test = int((tracks.split != "train").sum())
    print(f"{OUT.value}: {len(tracks.label)} tracks of {tracks.points.shape[1]} points, {test} of them held out")


if __name__ == "__main__":
    cli.run(main)
