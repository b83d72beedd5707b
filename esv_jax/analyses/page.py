"""Tables of a page of results, in Markdown, out of what the analyses wrote."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from esv_jax.analyses import recorded, tables
from esv_jax.analyses.tables import Table
from esv_jax.checks import InputError

_LENGTHS_SHOWN = (1, 2, 3, 4, 6, 8, 12, 16)


def filled_in(template: str, words: dict[str, str]) -> str:
    """The template with every {{name}} replaced.

    Raises:
      InputError: it asks for a name that there is not.
    """
    for name, text in words.items():
        template = template.replace("{{" + name + "}}", text)
    if "{{" in template:
        missing = template.split("{{", 1)[1].split("}}", 1)[0]
        raise InputError(f"the template of the results asks for {missing!r}, found {sorted(words)}")
    return template


def of_folder(folder: Path) -> dict[str, str]:
    """The tables by name, of the csv files of an analysis; those of the recorded evidence only where they are."""
    every = _TABLES | (_OF_EVIDENCE if (folder / "r_evidence.csv").is_file() else {})
    return {name: tables.markdown(table(lambda n: tables.read(folder / f"{n}.csv"))) for name, table in every.items()}


Read = Callable[[str], Table]


def pivot(table: Table, row: str, columns: Sequence[str], first: str = "") -> Table:
    """A table with a line for each value of `row` and a column for each combination of `columns`, whose cells say the
    mean with its interval where the table has one."""
    at = [table.columns.index(name) for name in columns]
    lines = list(dict.fromkeys(table.column(row)))
    heads = list(dict.fromkeys(tuple(r[i] for i in at) for r in table.rows))
    cells = {(r[table.columns.index(row)], tuple(r[i] for i in at)): _cell(table, r) for r in table.rows}
    names = tuple(", ".join(map(str, head)) for head in heads)
    return Table((first or row, *names), [(line, *(cells.get((line, h), "") for h in heads)) for line in lines])


def _cell(table: Table, row: tuple[Any, ...]) -> str:
    value = dict(zip(table.columns, row, strict=True))
    if "low" not in value:
        return f"{value['mean']:.3f}"
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _chosen(table: Table, column: str, values: Sequence[Any]) -> Table:
    at = table.columns.index(column)
    return Table(table.columns, [row for row in table.rows if row[at] in values])


def _supporting(read: Read) -> Table:
    return pivot(read("a_supporting").where(of="total"), "group", ["model"], "clips")


def _leanings(read: Read) -> Table:
    table = read("b_by_class")
    rows = []
    for model in dict.fromkeys(table.column("model")):
        mine = table.where(model=model)
        for leaning in ("early", "middle", "late", "neither"):
            names = mine.where(leans=leaning).column("class")
            rows.append((model, leaning, len(names), "; ".join(names)))
    return Table(("model", "leans", "classes", "which"), rows)


def _lengths(read: Read) -> Table:
    table = _chosen(read("c_lengths"), "num_frames", _LENGTHS_SHOWN)
    wanted = ("score of the true class", "share of positive ESV", "prediction changed by the last frame added")
    return pivot(_chosen(table, "measure", wanted), "num_frames", ["model", "measure"], "frames shown")


def _mistakes(read: Read) -> Table:
    return pivot(read("d_summary"), "measure", ["model"], "misclassified clips")


def _areas(read: Read) -> Table:
    return pivot(read("e_areas").where(ranked_by="true", measure="accuracy"), "method", ["model", "first"])


def _score_areas(read: Read) -> Table:
    table = read("e_areas").where(ranked_by="true", measure="score of the true class")
    return pivot(table, "method", ["model", "first"])


def _dropped(read: Read) -> Table:
    table = read("e_dropped")
    rows = [
        (model, f"{ranked} class", method, before, after, f"{gain:+.3f} [{low:+.3f}, {high:+.3f}]", kept)
        for model, ranked, method, before, after, gain, low, high, kept in table.rows
        if method in ("ESV", "class-score delta", "Int. Gradients (zero)", "random")
    ]
    columns = ("model", "values for the", "method", "accuracy before", "after", "gain", "frames kept")
    return Table(columns, rows)


def _agreement(read: Read) -> Table:
    table = read("f_agreement")
    with_esv = Table(table.columns, [row for row in table.rows if row[2] == "ESV"])
    return pivot(with_esv, "other", ["model", "measure"], "ESV against")


def _closeness(read: Read) -> Table:
    return pivot(read("g_closeness"), "m", ["model", "iterations"], "m; iterations:")


def _times(read: Read) -> Table:
    return pivot(_as_mean(read("g_time")), "m", ["model", "iterations"], "m; iterations:")


def _times_by_frames(read: Read) -> Table:
    return pivot(_as_mean(read("g_time_by_frames")), "num_frames", ["model"], "frames shown")


def _as_mean(table: Table) -> Table:
    """A table whose last column is the one to show."""
    return Table((*table.columns[:-1], "mean"), table.rows)


def _scales(read: Read) -> Table:
    table = _chosen(read("h_scales"), "num_frames", _LENGTHS_SHOWN)
    short = Table(("model", "num_frames", "mean"), [row[:3] for row in table.rows])
    return pivot(short, "model", ["num_frames"], "accuracy with frames shown:")


def _evidence(read: Read) -> Table:
    table = read("r_evidence")
    random = read("s_random")
    named = Table(random.columns, [(r[0], "ESV of random weights", *r[2:]) for r in random.rows])
    joined = Table(table.columns, [*table.rows, *named.rows])
    wanted = [row for row in joined.rows if row[3] in ("AUROC", recorded.BEYOND_POSITION, "mass inside - chance")]
    of_models = [(f"{row[0]}: {row[1]}", *row[1:]) for row in wanted]
    return pivot(Table(joined.columns, of_models), "model", ["ranking", "measure"], "values")


def _shuffled(read: Read) -> Table:
    return read("s_shuffled")


def _repeats(read: Read) -> Table:
    return pivot(read("r_repeats").where(measure="sum of copies"), "method", ["model", "times"], "sum over the copies")


def _completeness(read: Read) -> Table:
    table = read("f_completeness")
    return Table(table.columns, [(model, method, f"{float(error):.1e}") for model, method, error in table.rows])


_TABLES = {
    "supporting": _supporting,
    "leanings": _leanings,
    "lengths": _lengths,
    "mistakes": _mistakes,
    "areas": _areas,
    "score_areas": _score_areas,
    "dropped": _dropped,
    "agreement": _agreement,
    "closeness": _closeness,
    "times": _times,
    "times_by_frames": _times_by_frames,
    "scales": _scales,
    "shuffled": _shuffled,
    "completeness": _completeness,
}
_OF_EVIDENCE = {"evidence": _evidence, "repeats": _repeats}
