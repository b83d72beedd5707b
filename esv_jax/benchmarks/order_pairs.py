"""Do interactions find the two moments that carry a relation? On drawn clips, of which it is known when things change.

The classes are those of `scripts.ORDER_PAIRS`, which only the order of the frames tells apart; the model is the demo's,
and the clips are of another seed than those it was trained on.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from esv_jax.coalitions.interaction_weights import Index
from esv_jax.explaining.interactions import interactions
from esv_jax.procedural import drawing, scripts
from esv_jax.saved import DEMO_MODEL, model_folder
from esv_jax.saved.game import game_of
from esv_jax.video.frame_sampling import segment_centres
from esv_jax.video.preprocess import resize_and_crop

SEED = 1


class Shares(NamedTuple):
    """Shares of clips, and of pairs by chance.

    Attributes:
      clips: how many there were.
      across: the pair of the highest interaction has a frame before the middle of the action and one after it.
      across_by_chance: the share of all pairs of which that is true.
      around: one before the action begins and one after it has ended. around_by_chance: of all pairs.
      of_size: the interaction of the largest size, whatever its sign, lies across the middle.
      of_values: the two frames of the highest Shapley values lie across the middle.
    """

    clips: int
    across: float
    across_by_chance: float
    around: float
    around_by_chance: float
    of_size: float
    of_values: float


def shares(clips_per_class: int, *, num_frames: int = 8, index: Index = "k-sii") -> Shares:
    """Of clips of each of the twelve classes, by their true class; `of_values` is of k-SII alone, else NaN."""
    model: Any = model_folder.load_model(DEMO_MODEL)
    game, see = game_of(model), jax.jit(model.backbone.module.apply)
    first, second = np.triu_indices(num_frames, 1)
    found = []
    for lap in range(clips_per_class):
        for number in (lap * len(scripts.ACTIONS) + c for pair in scripts.ORDER_PAIRS for c in pair):
            script = scripts.script_of(SEED, number)
            frames = list(drawing.frames(script))
            chosen = segment_centres(len(frames), num_frames)
            images = resize_and_crop(np.stack([frames[i] for i in chosen]), model.backbone.card.preprocess)
            video = see(model.backbone.variables, images)
            target = model.card.classes.index(scripts.CLASS_NAMES[script.class_index])
            values = np.asarray(interactions(game, model.variables, video, index=index).values)[:, :, target]
            begins, ends = script.action
            later = chosen >= (begins + ends - 1) / 2
            across = later[first] != later[second]
            around = (chosen[first] < begins) & (chosen[second] >= ends)
            top = np.argmax(values[first, second])
            # k-SII: the Shapley value is what is left to a frame and half of its interactions.
            one, other = np.argsort(-(np.diag(values) + values.sum(axis=1)) / 2)[:2]
            of_values = later[one] != later[other] if index == "k-sii" else np.nan
            largest = np.argmax(np.abs(values[first, second]))
            found.append((across[top], across.mean(), around[top], around.mean(), across[largest], of_values))
    return Shares(len(found), *np.mean(found, axis=0).tolist())
