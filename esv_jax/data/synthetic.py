"""The procedural action set: what happens in each clip, frame by frame. Drawing and files are elsewhere.

A `Script` says everything about a clip: where its things are in every frame, what else goes on, and which frames carry
the evidence. `script(seed, index)` depends on these two numbers alone, never on how many clips are made.

No static cue tells the classes of a pair apart (left and right, appearing and disappearing ...). The second class of a
pair is the first one run backwards, everything in it included: a clip of one class and its twin of the other, made from
the same random numbers, show exactly the same set of frames. A model that ignores order cannot tell which it sees.

Lengths are fractions of the frame's side, x to the right, y downwards; angles are radians.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from esv_jax.checks import InputError

FPS = 12
NUM_FRAMES = (28, 60)  # shortest and longest clip
SHAPES = ("ball", "box", "triangle", "star", "diamond", "heart", "arrow", "cross", "ring", "house")
LOPSIDED = ("triangle", "heart", "arrow", "house")  # look different upside down
COVERS = ("ball", "box")  # hide what is behind them
COLOURS = ("red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink", "white", "black")
PATTERNS = ("plain", "striped", "dotted")
SPLITS = ("test", "validation") + 8 * ("train",)  # of clip round index // number of classes, repeating

X, Y, SIZE, ANGLE, OPACITY = range(5)  # columns of a pose; SIZE is the radius
_UNDER_WAY = (0.05, 0.95)  # of the deciding change: the frames between these are the evidence


class Thing(NamedTuple):
    """How a thing looks: one of SHAPES, of COLOURS, of PATTERNS."""

    shape: str
    colour: str
    pattern: str

    @property
    def name(self) -> str:
        return (
            f"{self.colour} {self.shape}" if self.pattern == "plain" else f"{self.pattern} {self.colour} {self.shape}"
        )


class Action(NamedTuple):
    """A class of the set.

    Attributes:
      template: its name in Something-Something's manner; each [something] is a placeholder, for the things in turn.
      motion: (rng, u [n]) -> (poses [n, things, 5], done [n]); u is the time: 0 before the action, rising steadily to 1
        during it, 1 after it. done in [0, 1] says how far the change is that decides the class; None where nothing
        changes.
      share: shortest and longest action, as a share of the clip.
      backwards: play the clip backwards.
      shapes: the shapes that the first thing may have.
      other_shapes: the shapes that the second thing may have.
    """

    template: str
    motion: Callable
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


def _ease(u: np.ndarray) -> np.ndarray:
    return u + 0.6 * (u * u * (3 - 2 * u) - u)


def _poses(n: int, x=0.5, y=0.5, size=0.13, angle=0.0, opacity=1.0) -> np.ndarray:
    return np.stack([np.broadcast_to(v, n) for v in (x, y, size, angle, opacity)], axis=1).astype(np.float64)


def _tilt(rng) -> float:
    return rng.uniform(-0.35, 0.35)


def _size(rng) -> float:
    return rng.uniform(0.1, 0.15)


def _resting(rng, n: int) -> np.ndarray:
    x, y = rng.uniform(0.25, 0.75, 2)
    return _poses(n, x, y, _size(rng), _tilt(rng))


def _path(rng, towards: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Start and end [2] of a straight way along the axis `towards`, anywhere in the frame, a little askew."""
    half = rng.uniform(0.2, 0.32) * towards + rng.uniform(-0.06, 0.06) * np.abs(towards[::-1])
    room = 0.5 - np.abs(half) - size
    middle = 0.5 + rng.uniform(-1, 1, 2) * room
    return middle - half, middle + half


def _moving(towards: tuple[int, int]) -> Callable:
    def motion(rng, u):
        size = _size(rng)
        start, end = _path(rng, np.asarray(towards, np.float64), size)
        done = _ease(u)
        at = start + done[:, None] * (end - start)
        return _poses(len(u), at[:, 0], at[:, 1], size, _tilt(rng))[:, None], done

    return motion


def _put_back(rng, u):
    size = _size(rng)
    towards = np.asarray([(1, 0), (-1, 0), (0, 1), (0, -1)][rng.integers(4)], np.float64)
    start, end = _path(rng, towards, size)
    out = _ease(1 - np.abs(2 * u - 1))
    at = start + out[:, None] * (end - start)
    return _poses(len(u), at[:, 0], at[:, 1], size, _tilt(rng))[:, None], u


def _nearing(rng, u):
    done = _ease(u)
    small = rng.uniform(0.06, 0.09)
    size = small * rng.uniform(2.2, 3.2) ** done
    x, y = rng.uniform(0.35, 0.65, 2)
    drift = rng.uniform(-0.08, 0.08, 2)
    return _poses(len(u), x + drift[0] * (done - 0.5), y + drift[1] * (done - 0.5), size, _tilt(rng))[:, None], done


def _appearing(rng, u):
    poses = _resting(rng, len(u))
    poses[:, OPACITY] = u
    return poses[:, None], u


def _covering(rng, u):
    under = _resting(rng, len(u))
    size = under[:, SIZE] * rng.uniform(1.4, 1.6)
    angle = rng.integers(4) * np.pi / 2 + rng.uniform(-0.4, 0.4)
    away = np.asarray([np.cos(angle), np.sin(angle)])
    outside = 0.84 + 1.1 * size[0]
    gone = outside * (1 - _ease(u))
    cover = _poses(len(u), under[:, X] + gone * away[0], under[:, Y] + gone * away[1], size, _tilt(rng))
    touching = under[0, SIZE] + size[0]
    return np.stack([under, cover], axis=1), np.clip(1 - gone / touching, 0, 1)


def _two(rng, n: int, apart: np.ndarray, sizes: tuple[float, float]) -> np.ndarray:
    """Two things either side of a point in the middle, their centres `apart` [n], on a line of any slope."""
    slope = rng.uniform(0, 2 * np.pi)
    along = np.asarray([np.cos(slope), np.sin(slope)])
    at = 0.5 + rng.uniform(-0.08, 0.08, 2)
    ways = [at + sign * apart[:, None] / 2 * along for sign in (-1, 1)]
    return np.stack(
        [_poses(n, way[:, 0], way[:, 1], size, _tilt(rng)) for way, size in zip(ways, sizes, strict=True)], axis=1
    )


def _meeting(rng, u):
    sizes = rng.uniform(0.08, 0.115), rng.uniform(0.08, 0.115)
    done = _ease(u)
    far = rng.uniform(0.58, 0.7)
    return _two(rng, len(u), far + done * (sum(sizes) - far), sizes), done


def _colliding(rng, u):
    sizes = rng.uniform(0.08, 0.115), rng.uniform(0.08, 0.115)
    far = rng.uniform(0.58, 0.7)
    apart = sum(sizes) + np.abs(2 * u - 1) * (far - sum(sizes))
    return _two(rng, len(u), apart, sizes), np.clip(2 * u - 0.5, 0, 1)


def _falling(rng, u):
    size = _size(rng)
    x, top, floor = rng.uniform(0.25, 0.75), rng.uniform(0.02, 0.1) + size, rng.uniform(0.9, 0.98) - size
    fall = np.minimum(u / 0.65, 1)  # the rest of the time it bounces
    bounce = np.clip((u - 0.65) / 0.35, 0, 1)
    y = top + (floor - top) * fall**2 - 0.5 * bounce * (1 - bounce)
    turn = rng.choice([-1, 1]) * rng.uniform(0.8, 2.0)
    x = x + rng.uniform(-0.1, 0.1) * (u - 0.5)
    return _poses(len(u), x, y, size, _tilt(rng) + turn * (0.7 * fall + 0.3 * bounce))[:, None], fall**2


def _turning(rng, u):
    done = _ease(u)
    poses = _resting(rng, len(u))
    poses[:, SIZE] *= 1.25
    poses[:, ANGLE] += rng.integers(2) * np.pi + rng.choice([-1, 1]) * np.pi * done
    return poses[:, None], done


def _still(rng, u):
    return _resting(rng, len(u))[:, None], None


_LONG, _SHORT = (0.35, 0.6), (0.14, 0.2)
ACTIONS = (
    Action("Moving [something] left", _moving((-1, 0)), _LONG),
    Action("Moving [something] right", _moving((-1, 0)), _LONG, backwards=True),
    Action("Moving [something] up", _moving((0, -1)), _LONG),
    Action("Moving [something] down", _moving((0, -1)), _LONG, backwards=True),
    Action("Moving [something] towards the camera", _nearing, _LONG),
    Action("Moving [something] away from the camera", _nearing, _LONG, backwards=True),
    Action("[Something] appearing", _appearing, (0.2, 0.5)),
    Action("[Something] disappearing", _appearing, (0.2, 0.5), backwards=True),
    Action("Covering [something] with [something]", _covering, _LONG, other_shapes=COVERS),
    Action("Uncovering [something] by taking away [something]", _covering, _LONG, backwards=True, other_shapes=COVERS),
    Action("Moving [something] and [something] closer to each other", _meeting, _LONG),
    Action("Moving [something] and [something] away from each other", _meeting, _LONG, backwards=True),
    Action("Moving [something] and [something] so they collide", _colliding, (0.45, 0.7)),
    Action("[Something] falling like a rock", _falling, _SHORT),
    Action("Turning [something] upside down", _turning, _LONG, shapes=LOPSIDED),
    Action("Moving [something] and putting it back", _put_back, (0.45, 0.7)),
    Action("[Something] not moving", _still, _LONG),
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
            return _poses(len(poses), x, y, size, _tilt(rng))[:, None]
    return None


def _passer_by(rng, n: int) -> np.ndarray:
    """Poses [n, 1, 5] of something small that crosses the picture at some time, in any direction."""
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(8, 20)
    when = (np.arange(n) - rng.uniform(0, n)) / length  # from -0.7 to 0.7 it is on its way
    along, side = np.asarray([np.cos(angle), np.sin(angle)]), rng.uniform(-0.35, 0.35)
    at = 0.5 + 2 * np.clip(when, -0.7, 0.7)[:, None] * along + side * np.asarray([-along[1], along[0]])
    seen = np.abs(when) < 0.7
    return _poses(n, at[:, 0], at[:, 1], rng.uniform(0.022, 0.034), angle, seen)[:, None]


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


def write_script(class_index: int, rng: np.random.Generator, *, number: int = 0, split: str = "train") -> Script:
    """One clip of the class ACTIONS[class_index], made from `rng`.

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


def script(seed: int, index: int) -> Script:
    """Clip `index` of the set with this seed: class index % 17; split by the round index // 17 (see SPLITS).

    Raises:
      InputError: a negative seed or index.
    """
    if seed < 0 or index < 0:
        raise InputError(f"seed and index should be 0 or more, found seed {seed} and index {index}")
    lap, class_index = divmod(index, len(ACTIONS))
    rng = np.random.default_rng([seed, index])
    return write_script(class_index, rng, number=index, split=SPLITS[lap % len(SPLITS)])


def label(one: Script) -> tuple[str, list[str]]:
    """The clip's label with the things' names filled in ("moving red star left") and these names."""
    names = [thing.name for thing in one.things[one.first_thing : one.first_thing + one.num_placeholders]]
    text = ACTIONS[one.class_index].template.lower()
    for name in names:
        text = text.replace("[something]", name, 1)
    return text, names
