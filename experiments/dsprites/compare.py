"""dSprites drawn again, against the frames of the animation that is published beside it and the published mean.

MULTIRATE_DATA=... python experiments/dsprites/compare.py

MULTIRATE_DATA holds dsprites/dsprites_gif_320frames.npz: the frames of the publisher's dsprites.gif as 0 and 1, `imgs`
[320, 64, 64]. Written: results/dsprites-rendering.json.
"""

import dataclasses
import math
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirate.data.dsprites_render import FACTORS, GEOMETRY, SHAPES, SIDE, VERSION, Geometry, render, render_all
from multirate.errors import DataError
from multirate.files import write_json

ROOT = Path(__file__).resolve().parents[2]
FRAMES = Path("dsprites", "dsprites_gif_320frames.npz")

# Mean of all pixels of the published set, as github.com/nmichlo/disent gives it (experiment/config/data/dsprites.yaml):
# 128,328,862 pixels, to the last digit.
PUBLISHED_MEAN = 0.042494423521889584

# What each number of the geometry shapes, and the step in which it is moved away from its value.
STEPS = {
    "half": (SHAPES, 0.0005),
    "aspect": (("ellipse",), 0.00005),
    "heart_height": (("heart",), 0.00002),
    "heart_rise": (("heart",), 0.0002),
}
NUMBERS = {"ellipse_vertices": ("ellipse", range(40, 202, 2)), "heart_vertices": ("heart", range(40, 302, 2))}

Frames = dict[tuple[int, int, int, int, int], NDArray[np.bool_]]


def frame_factors() -> list[tuple[int, int, int, int, int]]:
    """Return shape, scale, orientation, x and y of each frame, in the order of the animation.

    A heart, an ellipse and a square grow, shrink, grow, turn once and shrink; before it shrinks, the heart goes round
    the four sides of the area of positions.
    """
    growing = [(scale, 0, 0, 0) for scale in range(6)]
    start = growing + growing[::-1] + growing + [(5, orientation, 0, 0) for orientation in range(40)]
    line = range(32)
    around = (
        [(5, 0, 0, y) for y in line]
        + [(5, 0, x, 31) for x in line]
        + [(5, 0, 31, 31 - y) for y in line]
        + [(5, 0, 31 - x, 0) for x in line]
    )
    still = start + growing[::-1]
    return [(2, *f) for f in start + around + growing[::-1]] + [(s, *f) for s in (1, 0) for f in still]


def read_frames(path: Path) -> NDArray[np.bool_]:
    """Return the frames, ``[320, 64, 64]``.

    Raises:
        DataError: if there is no such file or it holds something else.
    """
    if not path.is_file():
        raise DataError(f"no file {path}; set MULTIRATE_DATA to the folder that holds {FRAMES}")
    with np.load(path, allow_pickle=False) as file:
        images: NDArray[np.uint8] = file["imgs"]
    if images.shape != (len(frame_factors()), SIDE, SIDE) or images.max() != 1:
        raise DataError(
            f"{path} holds imgs of shape {list(images.shape)}, not the 320 frames of 0 and 1; make it again"
        )
    return images.astype(bool)


def differing(frames: NDArray[np.bool_], shape: str, geometry: Geometry = GEOMETRY) -> NDArray[np.int64]:
    """Return how many pixels differ in each frame of a shape from the image that is drawn of its factors.

    Args:
        frames: all of the animation, ``[320, 64, 64]``.
        shape: of the frames that are compared.
        geometry: by which the images are drawn.
    """
    drawn: dict[tuple[int, int], NDArray[np.uint8]] = {}
    found = []
    for frame, (kind, scale, orientation, x, y) in zip(frames, frame_factors(), strict=True):
        if SHAPES[kind] == shape:
            if (scale, orientation) not in drawn:
                drawn[scale, orientation] = render(kind, scale, orientation, geometry)
            image = np.unpackbits(drawn[scale, orientation][x * FACTORS["y"] + y]).reshape(SIDE, SIDE)
            found.append(int((image.astype(bool) != frame).sum()))
    return np.array(found)


def freedom(frames: NDArray[np.bool_], name: str, shapes: Iterable[str], step: float) -> dict[str, float]:
    """Return the lowest and the highest value of one number, others as they are, at which no pixel differs."""
    ends = {"value": getattr(GEOMETRY, name)}
    for end, sign in (("lowest", -1), ("highest", 1)):
        steps = 0
        while not any(differing(frames, shape, moved(name, (steps + 1) * sign * step)).any() for shape in shapes):
            steps += 1
        ends[end] = round(ends["value"] + sign * steps * step, 6)
    return ends


def moved(name: str, by: float) -> Geometry:
    """Return the geometry with one of its lengths changed."""
    return dataclasses.replace(GEOMETRY, **{name: getattr(GEOMETRY, name) + by})


def by_number(frames: NDArray[np.bool_], name: str, shape: str, numbers: Iterable[int]) -> dict[str, Any]:
    """Return how many pixels differ by the number of vertices, others as they are; five best and two neighbours."""
    found = {n: int(differing(frames, shape, dataclasses.replace(GEOMETRY, **{name: n})).sum()) for n in numbers}
    best = sorted(found, key=lambda n: found[n])[:5]
    value = getattr(GEOMETRY, name)
    kept = sorted({*best, value - 2, value + 2})
    return {"value": value, "tried": [min(found), max(found), 2], "differing": {str(n): found[n] for n in kept}}


def whole_grid() -> dict[str, Any]:
    """Draw the whole grid; return the seconds, and how many pixels are 1 beside how many there should be."""
    start = time.perf_counter()
    blocks = sum(1 for _ in render_all())
    seconds = time.perf_counter() - start
    ones = sum(int(np.unpackbits(block).sum(dtype=np.int64)) for block in render_all())
    size = math.prod(FACTORS.values()) * SIDE**2
    return {
        "images": blocks * FACTORS["x"] * FACTORS["y"],
        "seconds": round(seconds, 1),
        "ones": ones,
        "published_ones": round(PUBLISHED_MEAN * size),
        "mean": ones / size,
        "published_mean": PUBLISHED_MEAN,
    }


def main() -> None:
    """Compare, print a line a shape, and write the result."""
    frames = read_frames(Path(os.environ.get("MULTIRATE_DATA", ".")) / FRAMES)
    kinds = np.array([SHAPES[factors[0]] for factors in frame_factors()])
    shapes = {}
    for shape in SHAPES:
        wrong = differing(frames, shape)
        mine = frames[kinds == shape]
        shapes[shape] = {"frames": len(mine), "ones": int(mine.sum()), "differing": int(wrong.sum())}
        print(f"{shape}: {shapes[shape]}", flush=True)
    result = {
        "version": VERSION,
        "frames": {"pixels": frames.size, "differing": sum(each["differing"] for each in shapes.values()), **shapes},
        "whole_grid": whole_grid(),
        "geometry": dataclasses.asdict(GEOMETRY),
        "values_with_none_differing": {name: freedom(frames, name, *how) for name, how in STEPS.items()},
        "numbers_of_vertices": {name: by_number(frames, name, *how) for name, how in NUMBERS.items()},
    }
    write_json(ROOT / "results" / "dsprites-rendering.json", result)


if __name__ == "__main__":
    main()
