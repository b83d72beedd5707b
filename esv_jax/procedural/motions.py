"""How the things of the procedural action set move: one function for every class, or pair of classes, of it.

A motion is (rng, u [n]) -> (poses [n, things, 5], done [n]): u is the time, 0 before the action, rising steadily to 1
during it, 1 after it; done in [0, 1] says how far the change is that decides the class, None where nothing changes.
Lengths are fractions of the frame's side, x to the right, y downwards; angles are radians.
"""

from collections.abc import Callable

import numpy as np

X, Y, SIZE, ANGLE, OPACITY = range(5)  # columns of a pose; SIZE is the radius
Motion = Callable[[np.random.Generator, np.ndarray], tuple[np.ndarray, np.ndarray | None]]


def _ease(u: np.ndarray) -> np.ndarray:
    return u + 0.6 * (u * u * (3 - 2 * u) - u)


def poses_of(n: int, x=0.5, y=0.5, size=0.13, angle=0.0, opacity=1.0) -> np.ndarray:
    return np.stack([np.broadcast_to(v, n) for v in (x, y, size, angle, opacity)], axis=1).astype(np.float64)


def tilt(rng) -> float:
    return rng.uniform(-0.35, 0.35)


def _size(rng) -> float:
    return rng.uniform(0.1, 0.15)


def _resting(rng, n: int) -> np.ndarray:
    x, y = rng.uniform(0.25, 0.75, 2)
    return poses_of(n, x, y, _size(rng), tilt(rng))


def _path(rng, towards: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Start and end [2] of a straight way along the axis `towards`, anywhere in the frame, a little askew."""
    half = rng.uniform(0.2, 0.32) * towards + rng.uniform(-0.06, 0.06) * np.abs(towards[::-1])
    room = 0.5 - np.abs(half) - size
    middle = 0.5 + rng.uniform(-1, 1, 2) * room
    return middle - half, middle + half


def _carried(rng, towards: np.ndarray, size: float, share: np.ndarray) -> np.ndarray:
    """Poses [n, 1, 5] of a thing that is `share` [n] of such a way from its start."""
    start, end = _path(rng, towards, size)
    at = start + share[:, None] * (end - start)
    return poses_of(len(share), at[:, 0], at[:, 1], size, tilt(rng))[:, None]


def moving(towards: tuple[int, int]) -> Motion:
    def motion(rng, u):
        done = _ease(u)
        return _carried(rng, np.asarray(towards, np.float64), _size(rng), done), done

    return motion


def put_back(rng, u):
    size = _size(rng)
    towards = np.asarray([(1, 0), (-1, 0), (0, 1), (0, -1)][rng.integers(4)], np.float64)
    return _carried(rng, towards, size, _ease(1 - np.abs(2 * u - 1))), u


def nearing(rng, u):
    done = _ease(u)
    small = rng.uniform(0.06, 0.09)
    size = small * rng.uniform(2.2, 3.2) ** done
    x, y = rng.uniform(0.35, 0.65, 2)
    drift = rng.uniform(-0.08, 0.08, 2)
    return poses_of(len(u), x + drift[0] * (done - 0.5), y + drift[1] * (done - 0.5), size, tilt(rng))[:, None], done


def appearing(rng, u):
    poses = _resting(rng, len(u))
    poses[:, OPACITY] = u
    return poses[:, None], u


def covering(rng, u):
    under = _resting(rng, len(u))
    size = under[:, SIZE] * rng.uniform(1.4, 1.6)
    angle = rng.integers(4) * np.pi / 2 + rng.uniform(-0.4, 0.4)
    away = np.asarray([np.cos(angle), np.sin(angle)])
    outside = 0.84 + 1.1 * size[0]
    gone = outside * (1 - _ease(u))
    cover = poses_of(len(u), under[:, X] + gone * away[0], under[:, Y] + gone * away[1], size, tilt(rng))
    touching = under[0, SIZE] + size[0]
    return np.stack([under, cover], axis=1), np.clip(1 - gone / touching, 0, 1)


def _two(rng, n: int, apart: np.ndarray, sizes: tuple[float, float]) -> np.ndarray:
    """Two things either side of a point in the middle, their centres `apart` [n], on a line of any slope."""
    slope = rng.uniform(0, 2 * np.pi)
    along = np.asarray([np.cos(slope), np.sin(slope)])
    at = 0.5 + rng.uniform(-0.08, 0.08, 2)
    ways = [at + sign * apart[:, None] / 2 * along for sign in (-1, 1)]
    return np.stack(
        [poses_of(n, way[:, 0], way[:, 1], size, tilt(rng)) for way, size in zip(ways, sizes, strict=True)], axis=1
    )


def meeting(rng, u):
    sizes = rng.uniform(0.08, 0.115), rng.uniform(0.08, 0.115)
    done = _ease(u)
    far = rng.uniform(0.58, 0.7)
    return _two(rng, len(u), far + done * (sum(sizes) - far), sizes), done


def colliding(rng, u):
    sizes = rng.uniform(0.08, 0.115), rng.uniform(0.08, 0.115)
    far = rng.uniform(0.58, 0.7)
    apart = sum(sizes) + np.abs(2 * u - 1) * (far - sum(sizes))
    return _two(rng, len(u), apart, sizes), np.clip(2 * u - 0.5, 0, 1)


def falling(rng, u):
    size = _size(rng)
    x, top, floor = rng.uniform(0.25, 0.75), rng.uniform(0.02, 0.1) + size, rng.uniform(0.9, 0.98) - size
    fall = np.minimum(u / 0.65, 1)  # the rest of the time it bounces
    bounce = np.clip((u - 0.65) / 0.35, 0, 1)
    y = top + (floor - top) * fall**2 - 0.5 * bounce * (1 - bounce)
    turn = rng.choice([-1, 1]) * rng.uniform(0.8, 2.0)
    x = x + rng.uniform(-0.1, 0.1) * (u - 0.5)
    return poses_of(len(u), x, y, size, tilt(rng) + turn * (0.7 * fall + 0.3 * bounce))[:, None], fall**2


def turning(rng, u):
    done = _ease(u)
    poses = _resting(rng, len(u))
    poses[:, SIZE] *= 1.25
    poses[:, ANGLE] += rng.integers(2) * np.pi + rng.choice([-1, 1]) * np.pi * done
    return poses[:, None], done


def still(rng, u):
    return _resting(rng, len(u))[:, None], None
