"""The sprites of dSprites, drawn again: three polygons over the factor grid, filled at pixel centres."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from multirate.errors import UsageError

FACTORS: Final[dict[str, int]] = {"colour": 1, "shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32}
SHAPES: Final = ("square", "ellipse", "heart")
SIDE: Final = 64
POSITIONS: Final = FACTORS["x"] * FACTORS["y"]

# Raised when the same factors come to mean other pixels.
VERSION: Final = 1

# The corner of the area over which the centres of the sprites move, and its side.
_FIRST = 16.0
_SPAN = 32.0

# A pixel is divided in so many steps a side, to which vertices are rounded, as graphics hardware does.
_STEPS = 256

# Word c has the bits of columns c to 63, the first column in the highest bit.
_FROM_COLUMN = np.array([(1 << (SIDE - column)) - 1 for column in range(SIDE + 1)], dtype=np.uint64)


@dataclass(frozen=True)
class Geometry:
    r"""The outlines at scale 1, in pixels.

    The square has the half side :math:`h`; the ellipse has the semi-axes :math:`a h` and :math:`h / a`; the heart is
    the curve :math:`x = h \sin^3 t`, :math:`y = -k (13 \cos t - 5 \cos 2t - 2 \cos 3t - \cos 4t) - r`. The last two are
    polygons, with vertices at evenly spaced parameters.

    The values were fitted to the 320 frames of the animation that is published beside the data, whose factors are known
    by their order: none of their 1,310,720 pixels differs. The frames leave each value at most 0.13% of freedom, and to
    the numbers of vertices, even and to 200, one other for the ellipse and none for the heart. Within that the roundest
    are taken, of k the one that also suits the published set's mean: over the whole grid 128,328,786 pixels are 1, 76
    less than by that mean. ``experiments/dsprites/compare.py`` counts all this.

    Args:
        half: :math:`h`, 0.15 of the image's side.
        aspect: :math:`a`.
        ellipse_vertices: of the ellipse.
        heart_height: :math:`k`.
        heart_rise: :math:`r`, by which the heart is above the centre that it turns about.
        heart_vertices: of the heart.
    """

    half: float = 0.15 * SIDE
    aspect: float = 1.33
    ellipse_vertices: int = 100
    heart_height: float = 0.15 * SIDE / 14.5
    heart_rise: float = 0.15 * 0.15 * SIDE
    heart_vertices: int = 150


GEOMETRY: Final = Geometry()


def outline(shape: int, geometry: Geometry = GEOMETRY) -> NDArray[np.float64]:
    """Return the vertices of a sprite at scale 1 and orientation 0, about the centre by which it is placed.

    Args:
        shape: 0 square, 1 ellipse, 2 heart.
        geometry: sizes and numbers of vertices.

    Returns:
        x to the right and y down, in pixels, ``[V, 2]``.

    Raises:
        UsageError: if there is no such shape.
    """
    if shape not in range(len(SHAPES)):
        raise UsageError(f"a shape of dsprites is 0 ({SHAPES[0]}), 1 ({SHAPES[1]}) or 2 ({SHAPES[2]}); got {shape}")
    half = geometry.half
    if SHAPES[shape] == "square":
        return half * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    count = geometry.ellipse_vertices if SHAPES[shape] == "ellipse" else geometry.heart_vertices
    t = np.arange(count) * (2 * np.pi / count)
    if SHAPES[shape] == "ellipse":
        return np.stack([half * geometry.aspect * np.cos(t), half / geometry.aspect * np.sin(t)], axis=1)
    curve = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([half * np.sin(t) ** 3, -geometry.heart_height * curve - geometry.heart_rise], axis=1)


def place(vertices: NDArray[np.float64], scale: int, orientation: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where a sprite's vertices lie in the images of all positions, rounded to 1/256 of a pixel.

    Scales are ``linspace(0.5, 1, 6)``; orientations ``linspace(0, 2 pi, 40)``, against the clock, of which the last
    repeats the first; the centre moves over ``16 + 32 linspace(0, 1, 32)`` pixels, the same in x and y.

    Args:
        vertices: of the outline, in pixels, ``[V, 2]``.
        scale: index from 0 to 5.
        orientation: index from 0 to 39.

    Returns:
        x for each position in x and y for each position in y, from the image's upper left corner, each ``[32, V]``.
    """
    angle = np.linspace(0, 2 * np.pi, FACTORS["orientation"])[orientation]
    u, v = np.linspace(0.5, 1, FACTORS["scale"])[scale] * vertices.T
    centres = _FIRST + _SPAN * np.linspace(0, 1, FACTORS["x"])[:, None]
    x = centres + (u * np.cos(angle) + v * np.sin(angle))
    y = centres + (v * np.cos(angle) - u * np.sin(angle))
    return np.rint(_STEPS * x).astype(np.int64), np.rint(_STEPS * y).astype(np.int64)


def fill(x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Fill polygons that differ in where they are: a pixel is 1 if its centre is inside, by the even-odd rule.

    Each row of an image is a word of 64 bits; every edge that crosses the line through the row's pixel centres flips
    the bits from its crossing on. Crossings are exact: numerators and denominators are integers far below 2^53, and a
    quotient of such numbers is rounded to an integer only if it is one.

    Args:
        x: of the vertices for each position in x, in 1/256 of a pixel, ``[X, V]``.
        y: of the vertices for each position in y, ``[Y, V]``.

    Returns:
        Rows of the images, the first column in the highest bit, ``[X, Y, 64]``.
    """
    centres = _STEPS * np.arange(SIDE) + _STEPS // 2
    above = y[:, None, :] <= centres[:, None]
    image, row, edge = np.nonzero(above != np.roll(above, -1, axis=2))
    following = (edge + 1) % x.shape[1]
    y0, y1 = y[image, edge], y[image, following]
    x0, x1 = x[:, edge], x[:, following]
    run = y1 - y0
    ahead = ((x0 - _STEPS // 2) * run + (centres[row] - y0) * (x1 - x0)) / (_STEPS * run)
    flips = _FROM_COLUMN[np.ceil(ahead).astype(np.int64).clip(0, SIDE)]
    line = image * SIDE + row
    starts = np.flatnonzero(np.diff(line, prepend=-1))
    words = np.zeros((len(x), len(y) * SIDE), dtype=np.uint64)
    words[:, line[starts]] = np.bitwise_xor.reduceat(flips, starts, axis=1)
    return words.reshape(len(x), len(y), SIDE)


def render(shape: int, scale: int, orientation: int, geometry: Geometry = GEOMETRY) -> NDArray[np.uint8]:
    """Draw one sprite at one scale and orientation at all 32 x 32 positions, x before y.

    Args:
        shape: 0 square, 1 ellipse, 2 heart.
        scale: index from 0 to 5.
        orientation: index from 0 to 39.
        geometry: of the outlines.

    Returns:
        Images as packed bits, in the order of ``numpy.packbits``, ``[1024, 512]``.

    Raises:
        UsageError: if there is no such shape.
    """
    words = fill(*place(outline(shape, geometry), scale, orientation))
    return words.astype(">u8").view(np.uint8).reshape(POSITIONS, SIDE * SIDE // 8)


def render_all() -> Iterator[NDArray[np.uint8]]:
    """Draw every image of the factor grid in its order: colour, shape, scale, orientation, x, y; the last runs first.

    Yields:
        1,024 images as packed bits, ``[1024, 512]``, 720 times.
    """
    for shape in range(FACTORS["shape"]):
        for scale in range(FACTORS["scale"]):
            for orientation in range(FACTORS["orientation"]):
                yield render(shape, scale, orientation)
