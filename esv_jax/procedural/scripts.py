"""What happens in each clip of the procedural action set, frame by frame.

A `Script` says everything about a clip: where its things are in every frame, what else goes on, and which frames carry
the evidence. `script_of(seed, index)` depends on these two numbers alone, never on how many clips are made.

No static cue tells the classes of a pair apart (left and right, appearing and disappearing ...). The second class of a
pair is the first one run backwards, everything in it included: a clip of one class and its twin of the other, made from
the same random numbers, show the same set of frames, but for the camera's grain and the codec's traces. A model that
ignores order cannot tell which it sees.

Lengths are fractions of the frame's side, x to the right, y downwards; angles are radians.
"""

from typing import NamedTuple

import numpy as np

from esv_jax.checks import InputError
from esv_jax.procedural import motions
from esv_jax.procedural.motions import SIZE, Motion, X, Y, poses_of, tilt

FPS = 12
NUM_FRAMES = (28, 60)  # shortest and longest clip
SHAPES = ("ball", "box", "triangle", "star", "diamond", "heart", "arrow", "cross", "ring", "house")
LOPSIDED = ("triangle", "heart", "arrow", "house")  # look different upside down
COVERS = ("ball", "box")  # hide what is behind them
COLOURS = ("red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink", "white", "black")
PATTERNS = ("plain", "striped", "dotted")
SPLITS = ("test", "validation") + 8 * ("train",)  # of one lap of all classes after another, repeating

_UNDER_WAY = (0.05, 0.95)  # of the deciding change: the frames between these are the evidence


class Thing(NamedTuple):
    """How a thing looks: one of SHAPES, of COLOURS, of PATTERNS."""

    shape: str
    colour: str
    pattern: str

    @property
    def name(self) -> str:
        pattern = "" if self.pattern == "plain" else f"{self.pattern} "
        return f"{pattern}{self.colour} {self.shape}"


class Action(NamedTuple):
    """A class of the set.

    Attributes:
      template: its name in Something-Something's manner; each [something] is a placeholder, for the things in turn.
      motion: what the things do, see `motions.py`.
      share: shortest and longest action, as a share of the clip.
      backwards: play the clip backwards.
      shapes: the shapes that the first thing may have.
      other_shapes: the shapes that the second thing may have.
    """

    template: str
    motion: Motion
    share: tuple[float, float]
    backwards: bool = False
    shapes: tuple[str, ...] = SHAPES
    other_shapes: tuple[str, ...] = SHAPES

    @property
    def class_name(self) -> str:
        return self.template.replace("[", "").replace("]", "")


class Script(NamedTuple):
    """All that is to be seen in one clip of n frames.

    Attributes:
      number: of the clip in its set.
      class_index: into ACTIONS.
      split: "train", "validation" or "test".
      things: drawn in this order, later over earlier ones: perhaps a bystander, the action's, perhaps a passer-by.
      num_placeholders: how many of things are the action's.
      first_thing: the position in `things` of the action's first.
      poses: float64 [n, len(things), 5]: x, y, radius, angle, opacity.
      camera: float64 [n, 2], how far the camera has shaken.
      light: float64 [n], brightness of the scene, 1 is normal.
      action: first frame of the action, and the first after it; (0, n) for the class in which nothing happens.
      evidence: int64 [e], increasing: the frames in which the change that decides the class is under way (between 5 %
        and 95 %); all frames for the class in which nothing happens.
      look: seed of the background and of what is random in the drawing.
    """

    number: int
    class_index: int
    split: str
    things: tuple[Thing, ...]
    num_placeholders: int
    first_thing: int
    poses: np.ndarray
    camera: np.ndarray
    light: np.ndarray
    action: tuple[int, int]
    evidence: np.ndarray
    look: int


_LONG, _SHORT = (0.35, 0.6), (0.14, 0.2)
ACTIONS = (
    Action("Moving [something] left", motions.moving((-1, 0)), _LONG),
    Action("Moving [something] right", motions.moving((-1, 0)), _LONG, backwards=True),
    Action("Moving [something] up", motions.moving((0, -1)), _LONG),
    Action("Moving [something] down", motions.moving((0, -1)), _LONG, backwards=True),
    Action("Moving [something] towards the camera", motions.nearing, _LONG),
    Action("Moving [something] away from the camera", motions.nearing, _LONG, backwards=True),
    Action("[Something] appearing", motions.appearing, (0.2, 0.5)),
    Action("[Something] disappearing", motions.appearing, (0.2, 0.5), backwards=True),
    Action("Covering [something] with [something]", motions.covering, _LONG, other_shapes=COVERS),
    Action(
        "Uncovering [something] by taking away [something]",
        motions.covering,
        _LONG,
        backwards=True,
        other_shapes=COVERS,
    ),
    Action("Moving [something] and [something] closer to each other", motions.meeting, _LONG),
    Action("Moving [something] and [something] away from each other", motions.meeting, _LONG, backwards=True),
    Action("Moving [something] and [something] so they collide", motions.colliding, (0.45, 0.7)),
    Action("[Something] falling like a rock", motions.falling, _SHORT),
    Action("Turning [something] upside down", motions.turning, _LONG, shapes=LOPSIDED),
    Action("Moving [something] and putting it back", motions.put_back, (0.45, 0.7)),
    Action("[Something] not moving", motions.still, _LONG),
)
CLASS_NAMES = tuple(action.class_name for action in ACTIONS)
ORDER_PAIRS = tuple((i, i + 1) for i in range(0, 12, 2))  # classes that only the order of the frames tells apart


def _thing(rng, shapes=SHAPES, other_than: tuple[Thing, ...] = ()) -> Thing:
    colours = [c for c in COLOURS if c not in {thing.colour for thing in other_than}]
    pattern = rng.choice(PATTERNS, p=(0.5, 0.25, 0.25))
    return Thing(str(rng.choice(shapes)), str(rng.choice(colours)), str(pattern))


def _bystander(rng, poses: np.ndarray) -> np.ndarray | None:
    """Poses [n, 1, 5] of a thing at rest that nothing of the action ever touches; None where there is no room."""
    for _ in range(12):
        (x, y), size = rng.uniform(0.08, 0.92, 2), rng.uniform(0.06, 0.1)
        distance = np.hypot(poses[:, :, X] - x, poses[:, :, Y] - y)
        if np.all(distance > poses[:, :, SIZE] + size + 0.03):
            return poses_of(len(poses), x, y, size, tilt(rng))[:, None]
    return None


def _passer_by(rng, n: int) -> np.ndarray:
    """Poses [n, 1, 5] of something small that crosses the picture at some time, in any direction."""
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(8, 20)
    when = (np.arange(n) - rng.uniform(0, n)) / length  # from -0.7 to 0.7 it is on its way
    along, side = np.asarray([np.cos(angle), np.sin(angle)]), rng.uniform(-0.35, 0.35)
    at = 0.5 + 2 * np.clip(when, -0.7, 0.7)[:, None] * along + side * np.asarray([-along[1], along[0]])
    seen = np.abs(when) < 0.7
    return poses_of(n, at[:, 0], at[:, 1], rng.uniform(0.022, 0.034), angle, seen)[:, None]


def _camera(rng, n: int) -> np.ndarray:
    """[n, 2]: a slow wandering, its strength differing between clips; many clips have none."""
    if rng.random() < 0.3:
        return np.zeros((n, 2))
    steps = rng.normal(size=(n + 12, 2))
    smooth = np.stack([np.convolve(steps[:, d], np.hanning(9) / np.sqrt(3.0), mode="same") for d in (0, 1)], axis=1)
    return np.clip(smooth[6 : 6 + n] * rng.uniform(0.003, 0.013), -0.04, 0.04)


def _light(rng, n: int) -> np.ndarray:
    """[n]: a flicker of one or two frames, or a slow change of the light, or neither."""
    light, time = np.ones(n), np.arange(n)
    if rng.random() < 0.25:
        first = rng.integers(n)
        light[first : first + rng.integers(1, 3)] *= rng.choice([0.7, 1.25])
    if rng.random() < 0.25:
        change = np.clip((time - rng.uniform(0, n)) / rng.uniform(6, 18) + 0.5, 0, 1)
        light *= 1 + rng.uniform(-0.22, 0.22) * (change - 0.5)
    return light


def random_script(class_index: int, rng: np.random.Generator, *, number: int = 0, split: str = "train") -> Script:
    """A clip of the class ACTIONS[class_index], made from `rng`.

    The two classes of a pair of ORDER_PAIRS, given generators in the same state, get scripts that are each other's
    reverse.
    """
    action = ACTIONS[class_index]
    n = int(rng.integers(NUM_FRAMES[0], NUM_FRAMES[1] + 1))
    long = max(3, round(n * rng.uniform(*action.share)))
    first = int(rng.integers(2, n - long - 1))
    # Frame first - 1 is the last before the change, frame first + long the first after it.
    u = np.clip((np.arange(n) - first + 1) / (long + 1), 0, 1)
    acting, done = action.motion(rng, u)

    things: tuple[Thing, ...] = ()
    for k in range(acting.shape[1]):
        things += (_thing(rng, action.other_shapes if k else action.shapes, things),)
    poses, first_thing = acting, 0
    if rng.random() < 0.35:
        at_rest = _bystander(rng, acting)
        if at_rest is not None:
            poses, things, first_thing = np.concatenate([at_rest, poses], 1), (_thing(rng), *things), 1
    if rng.random() < 0.3:
        poses, things = np.concatenate([poses, _passer_by(rng, n)], 1), (*things, _thing(rng, ("ball",)))

    window, evidence = (0, n), np.arange(n)
    if done is not None:
        done = np.round(done, 9)  # so that rounding errors do not decide at exactly 5 %
        window, evidence = (first, first + long), np.flatnonzero((done > _UNDER_WAY[0]) & (done < _UNDER_WAY[1]))
    camera, light, look = _camera(rng, n), _light(rng, n), int(rng.integers(2**32))
    if action.backwards:
        poses, camera, light = poses[::-1], camera[::-1], light[::-1]
        window, evidence = (n - window[1], n - window[0]), (n - 1 - evidence)[::-1]
    return Script(
        number, class_index, split, things, acting.shape[1], first_thing, poses, camera, light, window, evidence, look
    )


def script_of(seed: int, index: int) -> Script:
    """Clip `index` of the set with this seed: class index % 17; split by the lap index // 17 (see SPLITS).

    Raises:
      InputError: a negative seed or index.
    """
    if seed < 0 or index < 0:
        raise InputError(f"seed and index should be 0 or more, found seed {seed} and index {index}")
    lap, class_index = divmod(index, len(ACTIONS))
    rng = np.random.default_rng([seed, index])
    return random_script(class_index, rng, number=index, split=SPLITS[lap % len(SPLITS)])


def label(script: Script) -> tuple[str, list[str]]:
    """The clip's label with the things' names filled in ("moving red star left") and these names."""
    names = [thing.name for thing in script.things[script.first_thing : script.first_thing + script.num_placeholders]]
    text = ACTIONS[script.class_index].template.lower()
    for name in names:
        text = text.replace("[something]", name, 1)
    return text, names
