"""Error against evaluations of sampled interactions of two frames, ours and those of shapiq.

    esv-jax benchmark_interactions --out=out/interactions

NMSE is the mean squared error over the mean squared interaction (k-SII of order 2, the pairs) of the class that scores
highest: shapiq sees that class alone, which favours it. Prints the median over seeds in every cell, ours against the
best of shapiq's with a 95 % interval (paired bootstrap over runs), and how many entries ours holds within 1.96 standard
errors; writes runs.csv and table.md to --out. A run that is in runs.csv is not repeated. None may ask for more
coalitions than the budget. shapiq 1.8 (extra `bench`) needs Python 3.12 or newer.
"""

import functools
import itertools
import time
from collections.abc import Callable

import jax
import numpy as np
import pandas as pd
from absl import flags

import esv_jax
from esv_jax.benchmarks import black_box, peers, run_table
from esv_jax.benchmarks import games as benchmark_games
from esv_jax.benchmarks.report import FLOOR, WORSE, paired_ratio

from . import cli

OUT = cli.DEFINE_path("out", None, "Folder to write to.", required=True)
GAMES = flags.DEFINE_multi_enum(
    "game", ["tsn", "trn", "order", "transformer", "demo"], sorted(benchmark_games.GAMES), "Games; repeatable."
)
FRAMES = flags.DEFINE_integer("frames", 12, "Number of frames, of which all coalitions are evaluated to compare with.")
EVALUATIONS = flags.DEFINE_multi_integer("evaluations", [128, 256, 512, 1024, 2048], "Evaluations; repeatable.")
SEEDS = flags.DEFINE_integer("seeds", 5, "How many runs of each.")

OURS = "esv_jax"
CELL = ["game", "evaluations"]
COLUMNS = (*CELL, "estimator", "seed", "instance", "asked", "seconds", "nmse", "covered")
ROUNDING = 1e-6


def main() -> None:
    out = cli.output_folder(OUT.value)
    found, missing = peers.of_pairs()
    for line in missing:
        print(f"not measured: {line}")
    table, listener = out / "runs.csv", peers.Listener(functools.partial(print, flush=True))
    done = {row[:4] for row in run_table.read(table, COLUMNS)}
    for seed, game in itertools.product(range(SEEDS.value), GAMES.value):
        case = _case(game, FRAMES.value)
        for budget, name in itertools.product(EVALUATIONS.value, (OURS, *found)):
            cell = (game, str(budget), name, str(seed))
            if cell in done:
                continue
            start = time.perf_counter()
            run = (
                _ours(case, budget, seed)
                if name == OURS
                else _theirs(case, functools.partial(listener.run, name, found[name]), budget, seed)
            )
            if run is not None:
                asked, *numbers = run
                seconds = time.perf_counter() - start
                figures = (f"{number:.7g}" for number in (seconds, *numbers))
                run_table.append(table, COLUMNS, (*cell, "0", str(asked), *figures))
        print(f"seed {seed}, {game}: done", flush=True)
    types = {"evaluations": int, **dict.fromkeys(("seconds", "nmse", "covered"), float)}
    text = "\n".join(_table(pd.DataFrame(run_table.read(table, COLUMNS), columns=COLUMNS).astype(types)))
    print(f"\n{text}")
    (out / "table.md").write_text(text + "\n", encoding="utf-8")


@functools.lru_cache(maxsize=1)
def _case(game: str, num_frames: int) -> tuple[benchmark_games.Instance, np.ndarray, int, peers.Worths]:
    """The game, its interactions [T, T] of the class that scores highest, that class, and its worths."""
    case = benchmark_games.GAMES[game](0, num_frames)
    exact = esv_jax.interactions(case.game, case.params, case.video)
    target = int(np.argmax(exact.full))
    return case, np.asarray(exact.values, np.float64)[:, :, target], target, black_box.worths_of(case, target)


def _ours(of: tuple, budget: int, seed: int) -> tuple[int, float, float] | None:
    case, exact, target, _ = of
    key = jax.random.key(seed)
    found = esv_jax.interactions(case.game, case.params, case.video, max_evaluations=budget, key=key)
    values, errors = (np.asarray(a, np.float64)[:, :, target] for a in (found.values, found.std_error))
    held = np.abs(values - exact) <= 1.96 * errors + ROUNDING
    return int(found.num_evaluations), _nmse(values, exact), float(held[np.triu_indices(len(held), 1)].mean())


def _theirs(
    of: tuple, peer: Callable[..., np.ndarray | None], budget: int, seed: int
) -> tuple[int, float, float] | None:
    _, exact, _, worths = of
    counted = black_box.Counted(worths, budget)
    values = peer(counted, len(exact), budget, seed)
    return None if values is None else (counted.evaluations, _nmse(values, exact), np.nan)


def _nmse(values: np.ndarray, exact: np.ndarray) -> float:
    pairs = np.triu_indices(len(exact), 1)
    return max(float(((values - exact)[pairs] ** 2).mean() / (exact[pairs] ** 2).mean()), FLOOR)


def _table(runs: pd.DataFrame) -> list[str]:
    medians = runs.pivot_table("nmse", CELL, "estimator", aggfunc="median")
    theirs = medians.drop(columns=OURS)
    head = ["game", "evaluations", OURS, *theirs, f"{OURS} / best other [95 %]", "runs", "s", "95 % hold"]
    lines, ratios = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"], []
    for cell, row in theirs.iterrows():
        by_name = dict(list(runs[(runs[CELL] == list(cell)).all(axis=1)].groupby("estimator")))
        mine, told = by_name[OURS], ""
        if row.notna().any():
            ratio, low, high = paired_ratio(mine, by_name[row.idxmin()])
            told = f"{ratio:.2g} [{low:.2g}, {high:.2g}] {row.idxmin()}"
            ratios.append(ratio)
        numbers = [f"{medians.loc[cell, OURS]:.2g}", *(f"{number:.2g}" for number in row), told]
        summary = [str(len(mine)), f"{mine['seconds'].median():.2g}", f"{mine['covered'].mean():.0%}"]
        lines.append("| " + " | ".join([*map(str, cell), *numbers, *summary]) + " |")
    least = np.array(ratios)
    lines += ["", f"{len(least)} cells: at most half of the best other's error in {(least <= 0.5).sum()}, "]
    lines[-1] += f"more than {WORSE} times it in {(least > WORSE).sum()}."
    return lines


if __name__ == "__main__":
    cli.run(main)
