"""Draws the pictures of how_it_works.md: the lattice, a plan, the walk.

python docs/draw_how_it_works.py        # writes docs/lattice.svg, docs/plan.svg, docs/walk.svg
"""

import itertools
from pathlib import Path

import jax
import matplotlib
import matplotlib.pyplot as plt
import numpy as np

import esv_jax

HERE = Path(__file__).parent
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#b0b0b0"


def lattice(num_players: int = 4) -> plt.Figure:
    """All coalitions of four frames, a row for each size; the edges along which frame 2 joins."""
    figure, axes = plt.subplots(figsize=(7.2, 4.4))
    place = {}
    for size in range(num_players + 1):
        row = list(itertools.combinations(range(num_players), size))
        place |= {s: (i - (len(row) - 1) / 2, size) for i, s in enumerate(row)}
    for s, i in itertools.product(place, range(num_players)):
        if i not in s:
            joined = tuple(sorted((*s, i)))
            ends = np.array([place[s], place[joined]]).T
            axes.plot(*ends, color=BLUE if i == 1 else GREY, lw=2.2 if i == 1 else 0.8, zorder=1 + (i == 1))
    for s, (x, y) in place.items():
        name = "".join(str(i + 1) for i in s) or "nobody"
        axes.text(x, y, name, ha="center", va="center", zorder=3, bbox={"boxstyle": "round", "fc": "white", "ec": "k"})
    for size in range(num_players + 1):
        axes.text(-3.6, size, f"{size} frames" if size != 1 else "1 frame", va="center", color="#555555")
    axes.set(xlim=(-3.8, 2.8), ylim=(-0.4, num_players + 0.4))
    axes.axis("off")
    return figure


def plan() -> plt.Figure:
    """The masks of three plans for 8 frames, a column for each coalition."""
    key, shown = jax.random.key(0), []
    shown.append(("exact(): all 255", esv_jax.exact().plan(8)))
    shown.append(
        (
            "recommended(max_evaluations=64): pairs of complements",
            esv_jax.recommended(max_evaluations=64).plan(8, key=key),
        )
    )
    shown.append(
        (
            "stratified(per_size=8): the paper's, each grown from one before",
            esv_jax.stratified(per_size=8).plan(8, key=key),
        )
    )
    figure, every = plt.subplots(len(shown), figsize=(7.2, 4.6), layout="constrained")
    for axes, (title, made) in zip(every, shown, strict=True):
        axes.imshow(
            made.mask.T, cmap=matplotlib.colors.ListedColormap(["white", BLUE]), aspect="auto", interpolation="nearest"
        )
        for edge in np.cumsum(made.sizes)[:-1]:
            axes.axvline(edge - 0.5, color=ORANGE, lw=0.8)
        axes.set_title(title, loc="left", fontsize=9)
        axes.set(yticks=range(8), yticklabels=range(1, 9), xticks=[], ylabel="frame")
        axes.tick_params(labelsize=7)
    every[-1].set_xlabel("coalitions, by size (orange lines)")
    return figure


def walk(num_players: int = 8) -> plt.Figure:
    """What is held while all coalitions are summed: a tile of one size, and, for a TRN, the size below."""
    from math import comb

    figure, axes = plt.subplots(figsize=(7.2, 3.4))
    now = 5
    for size in range(1, num_players + 1):
        count = comb(num_players, size)
        held = size in (now - 1, now)
        color = {now: BLUE, now - 1: "#80b8d8"}.get(size, "#eeeeee")
        axes.barh(size, count, left=-count / 2, height=0.7, color=color, ec="k" if held else GREY, lw=0.8)
        says = {now: "being asked, tile by tile", now - 1: "logits kept: size 5 is made of them"}.get(size)
        if says is None:
            says = "summed up and forgotten" if size < now else "not yet made"
        axes.text(38, size, f"{count:2} of size {size}: {says}", va="center", fontsize=9)
    tile = 14
    axes.barh(now, tile, left=-comb(num_players, now) / 2 + 12, height=0.7, color=ORANGE, ec="k", lw=0.8)
    axes.set(xlim=(-37, 110), ylim=(0.3, num_players + 0.7))
    axes.axis("off")
    return figure


def main() -> None:
    # The same bytes whenever they are drawn.
    plt.rcParams |= {"svg.hashsalt": "esv_jax", "font.size": 10}
    for draw in (lattice, plan, walk):
        draw().savefig(HERE / f"{draw.__name__}.svg", bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
