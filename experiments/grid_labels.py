"""Makes labels and evidence of a folder of the GRID corpus: which word is said, and in which frames.

    esv-jax grid_labels --clips=grid --word=colour --test_speakers=s1,s2 --out=out/grid
    esv-jax extract_features --clips=grid --labels=out/grid/labels.csv --out=out/grid/features
    esv-jax train --features=out/grid/features --num_frames=16 --out=out/grid/trn
    esv-jax compute_esvs --features=out/grid/features --split=test --model=out/grid/trn --num_frames=16 \\
        --out=out/grid/trn.zarr
    esv-jax analyse --features=out/grid/features --store=out/grid/trn.zarr --model=out/grid/trn \\
        --clips=grid --evidence=out/grid/evidence.csv --out=out/grid/analysis

The folder holds videos and, anywhere below it, the words' times (*.align) under the same names. A second set, beside
the clips that we draw, whose evidence is known: a real one. Writes labels.csv (path,label,split,speaker) and
evidence.csv (uid,first,last) to --out. Clips of --test_speakers are of the split "test", all others of "train".
"""

from collections import Counter

from absl import flags

from esv_jax import files
from esv_jax.checks import InputError, listed
from esv_jax.data import grid

from . import cli

CLIPS = cli.DEFINE_path("clips", None, "Folder of GRID: videos, and *.align under the same names.", required=True)
WORD = flags.DEFINE_enum("word", "colour", list(grid.PLACES), "Which word of a sentence is the class of its clip.")
TEST_SPEAKERS = flags.DEFINE_list("test_speakers", [], "Speakers that are not trained on, by their names, like s1.")
OUT = cli.DEFINE_path("out", None, "Folder to write to.", required=True)


def main() -> None:
    out = cli.output_folder(OUT.value)
    sentences = grid.read_grid(CLIPS.value, WORD.value)
    speakers = {sentence.speaker for sentence in sentences}
    absent = sorted(set(TEST_SPEAKERS.value) - speakers)
    if absent:
        raise InputError(f"--test_speakers names {absent[0]!r:.80}, but {CLIPS.value} has {listed(sorted(speakers))}")
    labels, evidence = [("path", "label", "split", "speaker")], [("uid", "first", "last")]
    for sentence in sentences:
        split = "test" if sentence.speaker in TEST_SPEAKERS.value else "train"
        labels.append((sentence.path, sentence.word, split, sentence.speaker))
        evidence.append((sentence.path, str(sentence.first), str(sentence.last)))
    files.write_csv(out / "labels.csv", labels)
    files.write_csv(out / "evidence.csv", evidence)
    words = Counter(sentence.word for sentence in sentences)
    tested = sum(line[2] == "test" for line in labels)
    print(f"{OUT.value}: {len(sentences)} clips of {len(speakers)} speakers, {tested} held out, {len(words)} words")


if __name__ == "__main__":
    cli.run(main)
