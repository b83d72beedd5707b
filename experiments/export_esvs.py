"""Exports a results store to a csv table of chosen classes, or to one npz file of everything.

    esv-jax export_esvs --store=out/esvs.zarr --num_frames=8 --out=esvs.npz
    esv-jax export_esvs --store=out/esvs.zarr --class_name="Opening something" --out=opening.csv
    esv-jax export_esvs --store=out/esvs.zarr --out=labels.csv

The last one has every video's values for its own class. Texts and numbers in a csv are those of the store, letter by
letter; where a spreadsheet would run one as a formula, none is written.
"""

from pathlib import Path

from absl import flags

import esv_jax
from esv_jax.checks import InputError
from esv_jax.results import export

from . import cli

STORE = cli.DEFINE_path("store", None, "The results store.", required=True)
NUM_FRAMES = flags.DEFINE_integer("num_frames", None, "Which values, where the store holds several.")
CLASS_NAME = flags.DEFINE_multi_string("class_name", [], "csv: this class; repeatable. Each video's own by default.")
OUT = cli.DEFINE_path("out", None, "File to write, .csv or .npz.", required=True)


def main() -> None:
    ending = Path(OUT.value).suffix.lower()
    if ending not in (".csv", ".npz") or (ending == ".npz" and CLASS_NAME.value):
        raise InputError(f"--out should end in .csv, or in .npz and have no --class_name, found {OUT.value}")
    dataset = esv_jax.results.open(STORE.value, NUM_FRAMES.value)
    if ending == ".csv":
        export.save_csv(dataset, OUT.value, CLASS_NAME.value or None)
    else:
        export.save_npz(dataset, OUT.value)
    print(f"wrote {OUT.value}: {dataset.sizes['video']} videos, {dataset.sizes['frame']} frames of each")


if __name__ == "__main__":
    cli.run(main)
