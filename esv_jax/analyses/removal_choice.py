"""How much an explanation depends on what stands in for removed frames: the same question with several removals."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from esv_jax import checks, files
from esv_jax.analyses import charts
from esv_jax.base import Attribution, Estimator, Game
from esv_jax.explaining.answers import Temporary
from esv_jax.explaining.explain import explain
from esv_jax.explaining.worths import worths
from esv_jax.games import removals as of_removals
from esv_jax.metrics import agreement, removal


class RemovalComparison(NamedTuple):
    """What R removals make of one video.

    Attributes:
      names: of the removals, with their parameters.
      attributions: one of each.
      class_index: of the class that all that follows is about.
      rank_agreement: float64 [R, R], Spearman's correlation of values over players.
      insertion, deletion: float64 [R, P + 1], the score when the 0..P players of the highest values are shown alone, or
        are removed, each by its own removal.
    """

    names: tuple[str, ...]
    attributions: tuple[Attribution, ...]
    class_index: int
    rank_agreement: np.ndarray
    insertion: np.ndarray
    deletion: np.ndarray


def compare_removals(
    estimator: Estimator,
    make_game: Callable[[Any], Game],
    model: Any,
    video: Any,
    removals: Sequence[Any] = ("nearest", "freeze", "resample", "mean", "zero"),
    *,
    key: Any = None,
    class_index: int | None = None,
    archive: Any = None,
) -> RemovalComparison:
    """Explains a video once with each removal.

    Args:
      estimator, model, video, key: as for `explain`.
      make_game: removal -> host game, for example lambda removal: torch_game(empty=prior, removal=removal).
      removals: names, of `esv_jax.removals`, or functions, as for `host_game`.
      class_index: which class is compared; None: that with the highest score of the whole video.
      archive: a folder, in which every removal has an archive.

    Raises:
      InputError: fewer than two removals, two of one name, or what `explain` raises.
    """
    removals = tuple(removals)
    names = tuple(of_removals.made(given).name for given in removals)
    if len(names) < 2:
        raise checks.InputError(f"removals should be at least two, found {checks.listed(names) or 'none'}")
    if checks.repeated(names):
        raise checks.InputError(
            f"removals should have names of their own, found twice {checks.listed(checks.repeated(names))}"
        )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary if archive is None else archive)
        with files.disk_errors(f"the folder {folder} cannot be made"):
            folder.mkdir(parents=True, exist_ok=True)
        found, curves = [], []
        games = [make_game(given) for given in removals]
        abouts = [getattr(game.form, "about", "") for game in games]
        if checks.repeated(abouts):
            raise checks.InputError(
                "make_game should make a host game with the removal that it is given, found the same game of several"
            )
        for game, about in zip(games, abouts, strict=True):
            path = os.fspath(folder / f"{files.short_digest([about])}.esv")
            path = Temporary(path) if archive is None else path
            out = explain(estimator, game, model, video, key=key, archive=path)
            if class_index is None:
                class_index = int(np.argmax(out.full))
            elif not 0 <= class_index < out.full.shape[0]:
                raise checks.InputError(f"class_index should be within 0..{out.full.shape[0] - 1}, found {class_index}")
            order = removal.order(np.asarray(out.values)[:, class_index], highest_first=True)
            left = np.concatenate([removal.kept(order), np.zeros((1, len(order)), bool)])
            scores = np.asarray(worths(game, model, video, np.concatenate([~left, left]), archive=path), np.float64)
            curves.append(scores[:, class_index].reshape(2, -1))
            found.append(out)
    values = np.stack([np.asarray(out.values, np.float64)[:, class_index] for out in found])
    insertion, deletion = np.stack(curves, axis=1)
    ranks = agreement.spearman(values[:, None], values[None])
    return RemovalComparison(names, tuple(found), int(class_index or 0), ranks, insertion, deletion)


def format_comparison(found: RemovalComparison) -> str:
    """A table: of every removal its empty score, its top frame, the mean heights of its curves, and how far its ranks
    agree with those of each of the others."""
    wide = max(map(len, found.names)) + 1
    numbers = " ".join(f"{i + 1:>6}" for i in range(len(found.names)))
    lines = [
        f"{'removal':<{wide + 3}}   empty  top  insertion  deletion  rank agreement with\n{'':<{wide + 40}}{numbers}"
    ]
    for i, (name, out) in enumerate(zip(found.names, found.attributions, strict=True)):
        top = int(np.argmax(np.asarray(out.values)[:, found.class_index]))
        areas = f"{removal.area(found.insertion[i]):>9.3f}  {removal.area(found.deletion[i]):>8.3f}"
        ranks = " ".join(f"{rank:>6.2f}" for rank in found.rank_agreement[i])
        empty = float(out.empty[found.class_index])
        lines.append(f"{i + 1:>2} {name:<{wide}}{empty:>7.3f}  {top:>3}  {areas}  {ranks}".rstrip())
    return "\n".join(lines)


def save_comparison(path: Path, found: RemovalComparison) -> None:
    """Writes a picture as a PNG: values, rank agreement, and both curves.

    Raises:
      MissingExtraError: matplotlib is not installed.
    """
    charts.save(Path(path), lambda: _draw(found))


def _draw(found: RemovalComparison) -> Any:
    figure, axes = charts.subplots(2, 2, 4.8)
    c = found.class_index
    names = [name if len(name) <= 18 else f"{name[:17]}…" for name in found.names]
    of_values, of_ranks, of_insertion, of_deletion = axes.ravel()
    for i, (name, out) in enumerate(zip(names, found.attributions, strict=True)):
        of_values.plot(np.asarray(out.values)[:, c], label=name, **charts.style(i))
        share = np.linspace(0, 1, found.insertion.shape[1])
        of_insertion.plot(share, found.insertion[i], **charts.style(i))
        of_deletion.plot(share, found.deletion[i], **charts.style(i))
    of_values.axhline(0, color=charts.FAINT, linewidth=0.6)
    of_values.set(title="values", xlabel="player", ylabel="ESV")
    of_insertion.set(title="insertion: highest values shown first", xlabel="share shown", ylabel="score")
    of_deletion.set(title="deletion: highest values removed first", xlabel="share removed", ylabel="score")
    of_ranks.imshow(found.rank_agreement, vmin=-1, vmax=1)
    for (row, column), rank in np.ndenumerate(found.rank_agreement):
        ink = "white" if abs(rank) > 0.6 else charts.INK
        of_ranks.text(column, row, f"{rank:.2f}", ha="center", va="center", color=ink, size=6.5)
    ticks = range(len(names))
    of_ranks.set(title="rank agreement (Spearman)")
    of_ranks.set_xticks(ticks, names, rotation=35, ha="right")
    of_ranks.set_yticks(ticks, names)
    of_ranks.spines[:].set_visible(False)
    figure.legend(*of_values.get_legend_handles_labels(), loc="outside lower center", ncols=min(len(names), 5))
    return figure
