"""Anyone's model: attributions of models held in PyTorch and scikit-learn, ours and those of shap, captum and shapiq.

    esv-jax benchmark_host --out=out/host --quick
    esv-jax benchmark_host --out=out/host

Three parts (--part). errors: relative RMSE, sqrt(mean (found - exact)^2 / mean exact^2), of the class that the model
predicts, the median over seeds; everybody is held to the evaluations by a counter. The models' answers to all 2^T
coalitions are asked for once and kept in --out; exact values are made from these. seconds: a first answer in a fresh
process, without imports, a second one, and its overhead: by how much it takes longer than a bare loop of the model over
the same batches, in turn with it; and lines of code of its user. base: the same overhead of a model of the size of
VideoMAE base, with an archive. Prints tables; writes table.md and results.json, and runs.csv and seconds.json, what is
in which is not repeated.
"""

import contextlib
import csv
import functools
import importlib
import importlib.metadata
import itertools
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from absl import flags

import esv_jax
from esv_jax import files
from esv_jax.base import Attribution
from esv_jax.benchmarks import black_box, host_models, peers, report
from esv_jax.benchmarks.host_models import CASES, Case, Meter, Table

from . import cli

OUT = cli.DEFINE_path("out", None, "Folder to write to.", required=True)
QUICK = flags.DEFINE_bool("quick", False, "Two models at 100 evaluations, one seed, and no model of VideoMAE's size.")
MODELS = flags.DEFINE_multi_enum("model", list(CASES), list(CASES), "Models; repeatable.")
EVALUATIONS = flags.DEFINE_multi_integer("evaluations", [100, 400, 2000], "Evaluations; repeatable.")
SEEDS = flags.DEFINE_integer("seeds", 15, "How many runs in each cell.")
PARTS = flags.DEFINE_multi_enum(
    "part", ["errors", "seconds", "base"], ["errors", "seconds", "base"], "What to measure; repeatable."
)
ONE = flags.DEFINE_string("one", None, "MODEL/NAME/CLASS: prints the seconds of this alone, in this process.")

OURS = "esv_jax"
ON_CLIPS = "captum KernelShap of clips"
# Takes a minute and a half for 2000 evaluations.
LEFT_OUT = ("shapiq ProxySPEX", "shapiq ShaplEIG")
TIMED = (
    OURS,
    "shap KernelExplainer",
    "captum KernelShap",
    "captum ShapleyValueSampling",
    "shapiq LeverageSHAP",
    "shapiq ProxySHAP adjusted",
)
TIMED_EVALUATIONS = 400
ROUNDS = 5
BASE_EVALUATIONS, BASE_ROUNDS = 20, 2
IMPORTS = {OURS: "esv_jax", "shap": "shap", "captum": "captum.attr", "shapiq": "shapiq"}
# What is imported with the first answer otherwise.
LATE_IMPORTS = {"captum": ("sklearn.linear_model",), "shapiq": ("xgboost",)}
COLUMNS = ("model", "evaluations", "estimator", "seed", "asked", "values")
Run = Callable[[int, int], np.ndarray]  # evaluations, seed -> values [T] of the class


def main() -> None:
    if ONE.value is not None:
        model, name, target = ONE.value.split("/")
        print(json.dumps(_base() if model == "base" else _seconds(model, name, int(target))))
        return
    out = cli.output_folder(OUT.value)
    models = ["labels", "mlp"] if QUICK.value else MODELS.value
    parts = [part for part in PARTS.value if not (QUICK.value and part == "base")]
    found, missing = peers.available()
    for line in missing:
        print(f"not measured: {line}")
    tables = {model: _table(model, out) for model in models}
    targets = {model: _top_class(table) for model, table in tables.items()}
    exact = {model: _exact(table)[:, targets[model]] for model, table in tables.items()}
    text, results = [], dict[str, Any](versions=_versions())
    if "errors" in parts:
        others = {name: peer for name, peer in found.items() if name not in LEFT_OUT}
        runs = _measured(tables, targets, exact, others, out / "runs.csv")
        lines, results["errors"] = _errors(runs)
        text += lines
    if "seconds" in parts:
        results["imports"] = _kept(out / "seconds.json", "imports", _import_seconds)
        rows = [_timed(model, name, targets, exact, out) for model in models for name in _timed_names(model, found)]
        results["seconds"] = rows
        imports = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in results["imports"].items())
        text += ["", *_seconds_table(rows), "", f"Imports, not counted above: {imports}."]
    if "base" in parts:
        results["base"] = _kept(out / "seconds.json", "base", functools.partial(_in_a_process, "base", OURS, 0))
        text += ["", _base_line(results["base"])]
    print("\n".join(["", *text]))
    (out / "table.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    files.write_json(out / "results.json", results)


def _top_class(table: Table) -> int:
    """The class that the whole video scores highest."""
    return int(np.argmax(np.asarray(table.game.link(jax.numpy.asarray(table.scores[-1:])))))


def _table(model: str, out: Path) -> Table:
    """What the model says of all coalitions; kept in --out."""
    path, case = out / f"answers_{model}.npz", CASES[model]()
    if not path.exists():
        files.write_npz(path, {"scores": host_models.tabulated(case).scores})
    return host_models.with_scores(case, np.load(path)["scores"])


def _exact(table: Table) -> np.ndarray:
    """Values [T, C]."""
    num_frames = len(table.scores).bit_length() - 1
    found = esv_jax.explain(esv_jax.exact(), table.game, table.of, np.zeros((num_frames, 1)))
    return np.asarray(found.values, np.float64)


def _measured(
    tables: dict[str, Table],
    targets: dict[str, int],
    exact: dict[str, np.ndarray],
    others: dict[str, Callable[..., np.ndarray]],
    path: Path,
) -> pd.DataFrame:
    """The runs, with their `error`; those that are in the file are not repeated."""
    listener = peers.Listener(functools.partial(print, flush=True))
    rows = _read(path)
    done = {row[:4] for row in rows}
    budgets, seeds = ([100], 1) if QUICK.value else (EVALUATIONS.value, SEEDS.value)
    for model, budget, seed in itertools.product(tables, budgets, range(seeds)):
        for name in (OURS, *others):
            if (model, str(budget), name, str(seed)) in done:
                continue
            counted, run = _run(tables[model], targets[model], others.get(name), budget)
            values = listener.run(name, run, budget, seed)
            if values is not None:
                rows.append((model, str(budget), name, str(seed), str(counted.evaluations), _joined(values)))
        _write(path, rows)
        print(f"{model}, {budget} evaluations, seed {seed}: done", flush=True)
    kept = pd.DataFrame(rows, columns=COLUMNS).astype({"evaluations": int, "asked": int})
    kept = kept[kept["model"].isin(tables) & kept["evaluations"].isin(budgets)]
    errors = [error(np.array(row.values.split(), float), exact[row.model]) for row in kept.itertuples(index=False)]
    return kept.assign(error=errors, instance="0")


def _run(
    table: Table, target: int, peer: Callable[..., np.ndarray] | None, budget: int
) -> tuple[black_box.Counted, Run]:
    """What is asked, and who asks it: ours of scores, others of the worths of the class."""
    num_frames = len(table.scores).bit_length() - 1
    if peer is None:
        counted = black_box.Counted(table.of, budget)
        video = np.zeros((num_frames, 1))
        return counted, lambda evaluations, seed: np.asarray(
            host_models.explained(table.game, counted, video, evaluations, seed).values
        )[:, target]
    worths = table.worths(target)
    counted = black_box.Counted(lambda mask: worths[host_models.index(mask)], budget)
    return counted, functools.partial(peer, counted, num_frames)


def error(values: np.ndarray, exact: np.ndarray) -> float:
    """Relative RMSE of values [T]."""
    return float(np.sqrt(((values - exact) ** 2).mean() / (exact**2).mean()))


def _errors(runs: pd.DataFrame) -> tuple[list[str], list[dict[str, Any]]]:
    """The table of medians with what was aimed at, and the same as data."""
    medians = runs.pivot_table("error", ["model", "evaluations"], "estimator", aggfunc="median", sort=False)
    others = [name for name in medians if name != OURS]
    by_package = {package: [name for name in others if name.startswith(f"{package} ")] for package in list(IMPORTS)[1:]}
    head = ["model", "evaluations", OURS, *(f"best of {package}" for package in by_package), "ratio [95 %]", "seeds"]
    lines, cells = ["| " + " | ".join(head) + " |", "|---|--:|--:|---|---|---|---|--:|"], []
    for cell, median in medians.iterrows():
        model, budget = cell
        of_cell = runs[(runs["model"] == model) & (runs["evaluations"] == budget)]
        by_name = {str(name): group for name, group in of_cell.groupby("estimator")}
        best = str(median[others].idxmin())
        ratio = report.paired_ratio(by_name[OURS], by_name[best], "error")
        shown = [f"{median[OURS]:.3g}"]
        for names in by_package.values():
            of_package = median[names].dropna()
            shown.append(f"{of_package.min():.3g} {of_package.idxmin().partition(' ')[2]}" if len(of_package) else "-")
        shown += [f"{ratio[0]:.2g} [{ratio[1]:.2g}, {ratio[2]:.2g}]", str(len(by_name[OURS]))]
        lines.append(f"| {model} | {budget} | " + " | ".join(shown) + " |")
        asked = {name: int(group["asked"].max()) for name, group in by_name.items()}
        cells.append(
            dict(
                model=model, evaluations=int(budget), best=best, ratio=ratio, medians=dict(median.dropna()), asked=asked
            )
        )
    ratios = np.array([cell["ratio"] for cell in cells])
    worse, half = ratios[:, 0] > report.WORSE, ratios[:, 0] <= 0.5
    beyond = int((ratios[:, 1] > report.WORSE).sum())
    lines += [
        "",
        f"{len(cells)} cells: ours has more than {report.WORSE} times the best other's error in {worse.sum()} "
        f"({beyond} of them beyond the noise), at most half of it in {half.sum()}. "
        f"Aimed at: none, and {(len(cells) + 1) // 2}.",
    ]
    return lines, cells


def _timed_names(model: str, found: dict[str, Any]) -> list[str]:
    names = [name for name in TIMED if name == OURS or name in found]
    return [*names, ON_CLIPS] if model == "labels" and "captum KernelShap" in found else names


def _timed(model: str, name: str, targets: dict[str, int], exact: dict[str, np.ndarray], out: Path) -> dict[str, Any]:
    """A line of the table of seconds; kept in --out."""
    target = targets[model]
    run = functools.partial(_in_a_process, model, name, target)
    found = _kept(out / "seconds.json", f"{model}/{name}", run)
    wrong = error(np.array(found["values"]), exact[model])
    return dict(found, model=model, name=name, lines=lines_of(model, name), error=wrong)


def lines_of(model: str, name: str) -> int:
    """Lines of code that a user of the package writes for the model."""
    case = CASES[model]()
    if name == OURS:
        return host_models.lines_of(case.game, host_models.explained)
    if name == ON_CLIPS:
        return host_models.lines_of(host_models.labels_captum)
    peer: Any = peers.available()[0][name]
    return host_models.lines_of(case.worths, getattr(peer, "func", peer))


def _in_a_process(model: str, name: str, target: int) -> dict[str, Any]:
    command = [sys.executable, "-m", f"{__package__}.benchmark_host", f"--one={model}/{name}/{target}", "--out=nowhere"]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"{model}/{name} failed:\n{ended.stderr}")
    print(f"{model}, {name}: timed", flush=True)
    return json.loads(ended.stdout.splitlines()[-1])


def _import_seconds() -> dict[str, float]:
    """Of each package, in a process of its own; the second time, when its files have been read before."""
    found = {}
    for name, module in IMPORTS.items():
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            continue
        timing = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
        command = [sys.executable, "-W", "ignore", "-c", timing]
        texts = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
        found[name] = float(texts[1].splitlines()[-1])
    return found


def _answers(case: Case, name: str, target: int) -> Run:
    """As a user of the package has it: ours gives all classes, the others the one."""
    if name == OURS:
        game = case.game(case.empty)
        return lambda evaluations, seed: np.asarray(
            host_models.explained(game, case.model, case.video, evaluations, seed).values
        )[:, target]
    if name == ON_CLIPS:
        return functools.partial(host_models.labels_captum, case.model, case.video, target)
    peer = peers.available()[0][name]
    worths = case.worths(case.model, case.video, case.empty, target)
    return functools.partial(peer, worths, len(case.video))


def _seconds(model: str, name: str, target: int) -> dict[str, Any]:
    """Of answers in this process, which has not given any."""
    warnings.simplefilter("ignore")
    package = name.partition(" ")[0]
    for module in (IMPORTS[package], *LATE_IMPORTS.get(package, ())):
        importlib.import_module(module)
    case = CASES[model]()
    answer = _answers(case, name, target)
    seconds = [_clocked(functools.partial(answer, TIMED_EVALUATIONS, seed)) for seed in range(2)]
    meter = Meter(TIMED_EVALUATIONS, keep=True)
    with meter.watching(case.model, case.method):
        values = answer(TIMED_EVALUATIONS, 1)
    # In turn, so that what else the machine does meets both.
    pairs = [
        (_clocked(functools.partial(answer, TIMED_EVALUATIONS, 1)), _clocked(functools.partial(_loop, case, meter)))
        for _ in range(ROUNDS)
    ]
    wall, bare = np.median(pairs, axis=0)
    return dict(
        evaluations=meter.evaluations,
        first=seconds[0],
        second=wall,
        bare=bare,
        overhead=wall / bare - 1,
        values=np.asarray(values, float).tolist(),
    )


def _base() -> dict[str, Any]:
    """Of a model of the size of VideoMAE base: rounds of an explanation with a new archive, and the bare loop."""
    warnings.simplefilter("ignore")
    case = host_models.videomae_base()
    game, estimator = case.game(case.empty), esv_jax.recommended(max_evaluations=BASE_EVALUATIONS - 2)
    rounds, inside = list[tuple[float, float]](), []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1 + BASE_ROUNDS):
            meter = Meter(BASE_EVALUATIONS, keep=True)
            archive = Path(folder) / f"{number}.esv"
            options: dict[str, Any] = dict(key=jax.random.key(0), archive=archive)
            ask = functools.partial(esv_jax.explain, estimator, game, case.model, case.video, **options)
            with meter.watching(case.model, case.method):
                wall = _clocked(functools.partial(_values, ask))
            inside.append(wall / meter.seconds - 1)
            rounds.append((wall, _clocked(functools.partial(_loop, case, meter))))
    wall, bare = np.median(rounds[1:], axis=0)
    return dict(
        evaluations=meter.evaluations,
        batch_sizes=[len(call[0]) for call in meter.calls],
        first=rounds[0][0],
        second=wall,
        bare=bare,
        overhead=wall / bare - 1,
        outside_the_model=float(np.median(inside[1:])),
        outside_the_model_first=inside[0],
        rounds=rounds,
    )


def _values(ask: Callable[[], Attribution]) -> np.ndarray:
    """Waits for them."""
    return np.asarray(ask().values)


def _loop(case: Case, meter: Meter) -> None:
    """The bare model over what it was asked before."""
    with contextlib.ExitStack() as stack:
        if case.method == "forward":
            stack.enter_context(importlib.import_module("torch").inference_mode())
        for call in meter.calls:
            getattr(case.model, case.method)(*call)


def _clocked(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _seconds_table(rows: list[dict[str, Any]]) -> list[str]:
    head = (
        "| model | | lines | evaluations | first s | second s | overhead | error |\n|---|---|--:|--:|--:|--:|--:|--:|"
    )
    return [
        *head.splitlines(),
        *(
            f"| {row['model']} | {row['name']} | {row['lines']} | {row['evaluations']} | {row['first']:.2f} "
            f"| {row['second']:.2f} | {100 * row['overhead']:.0f} % | {row['error']:.3g} |"
            for row in rows
        ),
    ]


def _base_line(base: dict[str, Any]) -> str:
    ratios = ", ".join(f"{100 * (wall / bare - 1):.0f} %" for wall, bare in base["rounds"][1:])
    return (
        f"VideoMAE base, {base['evaluations']} evaluations with an archive: {base['second']:.1f} s, of which "
        f"{100 * base['outside_the_model']:.1f} % of the model's own time outside of it (the first time in a process "
        f"{100 * base['outside_the_model_first']:.1f} %). Beyond a bare loop over the same batches, round by round: "
        f"{ratios}. Aimed at: 5 %."
    )


def _kept(path: Path, key: str, make: Callable[[], Any]) -> Any:
    """What the json file holds under the key; made and put there if it is not."""
    kept = files.read_json(path) if path.exists() else {}
    if key not in kept:
        kept[key] = make()
        files.write_json(path, kept)
    return kept[key]


def _versions() -> dict[str, str]:
    packages = ("jax", "torch", "shap", "captum", "shapiq", "transformers", "scikit-learn", "xgboost", "lightgbm")
    found = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _joined(numbers: np.ndarray) -> str:
    return " ".join(f"{x:.9g}" for x in numbers)


def _read(path: Path) -> list[tuple[str, ...]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def _write(path: Path, rows: list[tuple[str, ...]]) -> None:
    files.write_csv(path, [COLUMNS, *rows])


if __name__ == "__main__":
    cli.run(main)
