"""Makes a page of a results store: every video and what its frames did, in a browser, without a server.

    esv-jax make_page --store=out/esvs.zarr --clips=clips --out=out/page
    esv-jax make_page --store=out/esvs.zarr --clips=clips --features=out/features --videos=preview --out=out/page
    esv-jax make_page --store=out/esvs.zarr --clips=clips --labels=labels.csv --one_file --out=page.html

Open index.html by a double click; the folder can be moved, zipped and put on any web server. The page asks for nothing
elsewhere. Run again, it makes what is new: of clips that changed, of values that were added.

A clip's video is the file of --clips that is called as the clip is, with any ending; where names and files differ,
--features says which is whose. Videos that are not found, or are not those that the values are about, are listed, and
shown by their values alone.
"""

import sys

from absl import flags

from esv_jax import files, progress
from esv_jax.checks import InputError, listed
from esv_jax.data import feature_store
from esv_jax.results import page
from esv_jax.results.page.media import VIDEOS as KINDS

from . import cli

STORE = cli.DEFINE_path("store", None, "The results store.", required=True)
NUM_FRAMES = flags.DEFINE_multi_integer(
    "num_frames", [], "Which values, where the store holds several; repeatable, the page begins with the first."
)
CLIPS = cli.DEFINE_path("clips", None, "Folder of the videos; without, values are shown alone.")
FEATURES = cli.DEFINE_path("features", None, "Feature store that says which file of --clips each clip is.")
LABELS = cli.DEFINE_path(
    "labels", None, "csv whose columns the table gets too; one is called uid, path or narration_id."
)
VIDEOS = flags.DEFINE_enum(
    "videos",
    "link",
    KINDS,
    "How they are played: where they are (link), from copies in the page (copy) or small ones that every browser plays "
    "(preview), or not at all.",
)
ONE_FILE = flags.DEFINE_bool(
    "one_file", False, f"Everything in one file, for at most {page.MOST_IN_ONE_FILE} videos; --out then ends in .html."
)
OUT = cli.DEFINE_path("out", None, "Folder of the page, or the file.", required=True)
_KEYS = ("uid", "path", "narration_id")  # the columns of one's own csv and of EPIC-KITCHENS' that clips are called by


def main() -> None:
    if FEATURES.value and not CLIPS.value:
        raise InputError("--features says which files of --clips are shown: give --clips too")
    path_of = None
    if FEATURES.value:
        path_of = {clip.uid: clip.path for clip in feature_store.open_store(FEATURES.value).clips}
    columns = _columns()
    with progress.bars("videos") as bars:
        task = bars.add_task("page", total=0)
        made = page.write(
            STORE.value,
            OUT.value,
            num_frames=NUM_FRAMES.value,
            clips=CLIPS.value,
            path_of=path_of,
            columns=columns,
            videos=VIDEOS.value,
            one_file=ONE_FILE.value,
            callback=lambda done, total: bars.update(task, completed=done, total=total),
        )
    if made.problems:
        print(f"{len(made.problems)} of {made.num_videos} videos are shown by their values alone:", file=sys.stderr)
        for uid, reason in made.problems.items():
            print(f"  {uid}: {reason}", file=sys.stderr)
    if made.num_unlabelled:
        print(f"{made.num_unlabelled} of {made.num_videos} videos are not in {LABELS.value}", file=sys.stderr)
    print(f"wrote {made.file}: {made.num_videos} videos, {made.num_written} files that are new")


def _columns() -> dict[str, dict[str, str]]:
    """The columns of --labels by clip, but for the one of the clips' names."""
    if LABELS.value is None:
        return {}
    names, rows = files.read_csv(LABELS.value, "labels")
    key = next((name for name in _KEYS if name in names), None)
    if key is None:
        raise InputError(
            f"{LABELS.value} should have a column {' or '.join(_KEYS)}, found the columns {listed(names, 8)}"
        )
    return {name: {row[key]: row[name] for _, row in rows} for name in names if name != key}


if __name__ == "__main__":
    cli.run(main)
