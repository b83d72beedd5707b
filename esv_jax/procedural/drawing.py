"""Draws the clips of the procedural action set: smooth shapes with outline, pattern and shadow on a painted ground.

Things and ground are drawn larger and reduced, which smooths all edges. Needs Pillow (extra `video`).
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from esv_jax.checks import require
from esv_jax.procedural.motions import ANGLE, OPACITY, SIZE, X, Y
from esv_jax.procedural.scripts import Script, Thing

SIDE = 112  # of the drawn frames, in pixels
_MARGIN = 6  # pixels of ground around the picture, for the camera to shake in
_SPRITE = 160  # pixels; a thing of its radius is _REACH of half of it
_SIDES = (16, 24, 36, 52, 76, 110, _SPRITE)
_REACH = 0.8
_OUTLINE = 0.12  # of the radius
_RGB = {
    "red": (214, 48, 49), "orange": (240, 132, 36), "yellow": (247, 202, 52), "green": (46, 150, 74),
    "turquoise": (38, 185, 178), "blue": (45, 98, 205), "purple": (125, 66, 172), "pink": (238, 110, 165),
    "white": (246, 244, 238), "black": (52, 52, 60),
}  # fmt: skip


def _outline_points(shape: str) -> np.ndarray:
    """The shape's outline as a polygon [points, 2] within radius 1, y downwards."""
    round_ = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    if shape in ("ball", "ring"):
        return 0.95 * np.stack([np.cos(round_), np.sin(round_)], axis=1)
    if shape == "heart":
        t = round_
        y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 16.5
        return np.stack([16 * np.sin(t) ** 3 / 16.5, y - 0.1], axis=1)
    if shape == "star":
        t = np.arange(10) * np.pi / 5 - np.pi / 2
        radius = np.where(np.arange(10) % 2 == 0, 1.08, 0.5)
        return np.stack([radius * np.cos(t), radius * np.sin(t)], axis=1)
    corners = {
        "box": [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
        "triangle": [(0, -1.05), (1.0, 0.75), (-1.0, 0.75)],
        "diamond": [(0, -1.08), (0.78, 0), (0, 1.08), (-0.78, 0)],
        "arrow": [(0, -1.08), (0.85, -0.1), (0.36, -0.1), (0.36, 0.98), (-0.36, 0.98), (-0.36, -0.1), (-0.85, -0.1)],
        "cross": [
            (-0.34, -0.98), (0.34, -0.98), (0.34, -0.34), (0.98, -0.34), (0.98, 0.34), (0.34, 0.34),
            (0.34, 0.98), (-0.34, 0.98), (-0.34, 0.34), (-0.98, 0.34), (-0.98, -0.34), (-0.34, -0.34),
        ],
        "house": [(0, -1.0), (0.95, -0.15), (0.7, -0.15), (0.7, 0.85), (-0.7, 0.85), (-0.7, -0.15), (-0.95, -0.15)],
    }  # fmt: skip
    return np.asarray(corners[shape], np.float64)


@functools.cache
def _mask(shape: str, grow: float) -> Any:
    """The shape as an image "L" of _SPRITE pixels, its corners rounded; `grow` scales it."""
    draw, image, filters = (require(f"PIL.{name}", extra="video") for name in ("ImageDraw", "Image", "ImageFilter"))
    side = 3 * _SPRITE

    def filled(points: np.ndarray) -> Any:
        picture = image.new("L", (side, side), 0)
        scaled = side / 2 * (1 + _REACH * points)
        draw.Draw(picture).polygon([(float(x), float(y)) for x, y in scaled], fill=255)
        return picture

    inside = filled(grow * _outline_points(shape))
    inside = inside.filter(filters.GaussianBlur(0.06 * side / 2)).point(lambda v: 255 if v > 127 else 0)
    if shape == "ring":
        inside.paste(0, mask=filled(0.45 / grow * _outline_points(shape)))
    return inside.resize((_SPRITE, _SPRITE), image.Resampling.BOX)


@functools.cache
def _shadow(shape: str) -> Any:
    filters = require("PIL.ImageFilter", extra="video")
    return _mask(shape, 1.0).filter(filters.GaussianBlur(5)).point(lambda v: v * 0.38)


def sprite(thing: Thing) -> dict[int, tuple[Any, Any]]:
    """The thing, upright: its picture, opacity in the fourth band, and its shadow "L", in each of _SIDES pixels."""
    image = require("PIL.Image", extra="video")
    colour = np.asarray(_RGB[thing.colour], np.float64)
    whole, inner = _mask(thing.shape, 1.0), np.asarray(_mask(thing.shape, 1 - _OUTLINE), np.float64)[..., None] / 255
    y, x = (np.mgrid[:_SPRITE, :_SPRITE] + 0.5) / (_SPRITE / 2) / _REACH - 1 / _REACH
    second = colour * 0.55 if thing.colour in ("white", "yellow") else colour + 0.6 * (255 - colour)
    if thing.pattern == "striped":
        marked = 0.5 + 2.5 * np.sin((x + y) * 9)
    elif thing.pattern == "dotted":
        marked = 4 * (np.sin(x * 9.5) * np.sin(y * 9.5) - 0.25)
    else:
        marked = np.zeros_like(x)
    marked = np.clip(marked, 0, 1)[..., None]
    paint = (1 - marked) * colour + marked * second
    paint = (
        paint * (1.06 - 0.14 * (x + y) / 2)[..., None] + 28 * np.exp(-((x + 0.4) ** 2 + (y + 0.45) ** 2) * 5)[..., None]
    )
    line = colour * 0.42
    rgb = np.clip(inner * paint + (1 - inner) * line, 0, 255).astype(np.uint8)
    # RGBX, not RGBA, which Pillow would multiply by its opacity and back in every transform. The paint goes on beyond
    # the shape's edge, so there is no fringe.
    bands = (*image.fromarray(rgb).split(), whole)
    pictures = image.merge("RGBX", bands), _shadow(thing.shape)
    return {side: tuple(p.resize((side, side), image.Resampling.BOX) for p in pictures) for side in _SIDES}


def _paste(
    canvas: Any, pictures: dict[int, tuple[Any, Any]], pose: np.ndarray, *, shift: np.ndarray, shadow: bool
) -> None:
    """Puts a sprite, turned and scaled, onto the canvas in place."""
    image = require("PIL.Image", extra="video")
    radius, opacity = pose[SIZE] * SIDE, pose[OPACITY]
    if opacity <= 0:
        return
    centre = np.asarray([pose[X], pose[Y]]) * SIDE + shift + (0.16 * radius + 0.5) * shadow * np.asarray([0.5, 1])
    reach = int(radius / _REACH * 1.2) + 2
    left, top = int(centre[0]) - reach, int(centre[1]) - reach
    if max(left, top) > SIDE or min(left, top) < -2 * reach:
        return
    # Not much larger than it will be, so that interpolating between neighbours smooths all edges.
    side = next((s for s in _SIDES if s * _REACH >= 2.2 * radius), _SIDES[-1])
    scale = side * _REACH / 2 / radius
    cos, sin = scale * np.cos(pose[ANGLE]), scale * np.sin(pose[ANGLE])
    dx, dy = left - centre[0], top - centre[1]
    affine = (cos, sin, cos * dx + sin * dy + side / 2, -sin, cos, -sin * dx + cos * dy + side / 2)
    picture = pictures[side][int(shadow)]
    moved = picture.transform((2 * reach, 2 * reach), image.Transform.AFFINE, affine, image.Resampling.BILINEAR)
    alpha = moved if shadow else moved.getchannel("X")
    if opacity < 1:
        alpha = alpha.point(lambda v: v * opacity)
    if shadow:
        canvas.paste((20, 18, 24), (left, top), alpha)
    else:
        canvas.paste(moved.convert("RGB"), (left, top), alpha)


def _noise(rng, side: int, cells: int) -> np.ndarray:
    """Smooth noise [side, side] of zero mean, blobs of about side / cells."""
    image = require("PIL.Image", extra="video")
    coarse = image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((side, side), image.Resampling.BICUBIC), np.float64)


def _muted(rng) -> np.ndarray:
    """A pale or a dark colour [3] with little in it, so that the things stand out."""
    grey = rng.uniform(70, 120) if rng.random() < 0.25 else rng.uniform(150, 225)
    return grey + rng.uniform(-26, 26, 3)


def ground(look: int) -> Any:
    """The background, an "RGB" image with the margin: a gradient, a texture, an edge, clutter."""
    image = require("PIL.Image", extra="video")
    rng = np.random.default_rng(look)
    side = SIDE + 2 * _MARGIN
    y, x = np.mgrid[:side, :side] / side - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    across = np.cos(angle) * x + np.sin(angle) * y
    first = _muted(rng)
    second = np.clip(first + rng.uniform(-45, 45) + rng.uniform(-15, 15, 3), 40, 240)
    picture = first + (across + 0.5)[..., None] * (second - first)
    texture = rng.integers(5)
    if texture == 0:
        picture += 7 * np.sin(across * rng.uniform(30, 90))[..., None]
    elif texture == 1:
        cells = rng.integers(5, 11)
        checks = (np.floor((x + 0.5) * cells) + np.floor((y + 0.5) * cells)) % 2
        picture += rng.uniform(6, 14) * (checks - 0.5)[..., None]
    elif texture == 2:
        picture += 9 * _noise(rng, side, int(rng.integers(4, 12)))[..., None]
    elif texture == 3:
        grain = _noise(rng, side, 5)
        picture += 8 * np.sin(60 * (y + 0.02 * grain) + 3 * grain)[..., None]
    if rng.random() < 0.4:  # the edge of a table or the foot of a wall
        edge = rng.uniform(-0.25, 0.35) + rng.uniform(-0.1, 0.1) * x
        below = np.clip((y - edge) * side + 0.5, 0, 1)[..., None]
        picture = picture * (1 - below) + np.clip(picture + rng.choice([-1, 1]) * rng.uniform(18, 40), 0, 255) * below
    for _ in range(rng.integers(4)):  # pale clutter
        at, size = rng.uniform(-0.5, 0.5, 2), rng.uniform(0.03, 0.1, 2)
        if rng.random() < 0.5:
            away = np.hypot((x - at[0]) / size[0], (y - at[1]) / size[1])
        else:
            away = np.maximum(np.abs(x - at[0]) / size[0], np.abs(y - at[1]) / size[1])
        inside = np.clip((1 - away) * size.min() * side + 0.5, 0, 1)[..., None]
        picture += inside * (rng.uniform(-26, 26) + rng.uniform(-10, 10, 3))
    return image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def frames(script: Script) -> Iterator[np.ndarray]:
    """The clip's frames in order, each uint8 [SIDE, SIDE, 3].

    Raises:
      MissingExtraError: Pillow is not installed.
    """
    image = require("PIL.Image", extra="video")
    background = ground(script.look)
    sprites = [sprite(thing) for thing in script.things]
    rng = np.random.default_rng([script.look, 1])
    grain = rng.normal(0.5, 1.5, (2 * SIDE, 2 * SIDE, 1)).astype(np.float32)
    for poses, camera, light in zip(script.poses, script.camera, script.light, strict=True):
        shift = camera * SIDE
        affine = (1, 0, _MARGIN - shift[0], 0, 1, _MARGIN - shift[1])
        canvas = background.transform((SIDE, SIDE), image.Transform.AFFINE, affine, image.Resampling.BILINEAR)
        for pictures, pose in zip(sprites, poses, strict=True):
            _paste(canvas, pictures, pose, shift=shift, shadow=True)
            _paste(canvas, pictures, pose, shift=shift, shadow=False)
        small = np.asarray(canvas, np.float32) * np.float32(light)
        top, left = rng.integers(SIDE, size=2)
        yield np.clip(small + grain[top : top + SIDE, left : left + SIDE], 0, 255).astype(np.uint8)
