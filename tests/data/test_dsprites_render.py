import hashlib
import importlib
import itertools
import json
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Polygon

from multirate.data.dsprites_render import GEOMETRY, fill, outline, place, render, render_all
from multirate.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]

with pytest.MonkeyPatch.context() as path:
    path.setattr(sys, "path", [str(ROOT / "experiments" / "dsprites"), *sys.path])
    compare = importlib.import_module("compare")

SHAPES = {"square": 0, "ellipse": 1, "heart": 2}
DRAWINGS = [(0, 0, 0), (0, 5, 7), (0, 2, 33), (1, 0, 1), (1, 5, 13), (1, 3, 39), (2, 0, 0), (2, 5, 11), (2, 4, 26)]

# Of all bits of version 1, in the order of the grid.
ALL = "a633ec1c60535b2cb0ddce1eff200fe7d64356ac276023214a64274c9db8e6ee"
ONES = 128_328_786


def images(*drawing):
    return np.unpackbits(render(*drawing)).reshape(32, 32, 64, 64)


def inside(x, y, vertices):
    """Whether a point is in a polygon by the number of edges to its left, in exact arithmetic."""
    crossings = 0
    for (x0, y0), (x1, y1) in zip(vertices, [*vertices[1:], vertices[0]], strict=True):
        if (y0 <= y) != (y1 <= y):
            crossings += x0 + Fraction((y - y0) * (x1 - x0), y1 - y0) <= x
    return crossings % 2


@pytest.mark.parametrize("seed", range(6))
def test_filling_tests_each_pixel_centre_exactly(seed):
    rng = np.random.default_rng(seed)
    # Multiples of half a pixel: corners and edges lie on pixel centres often.
    x, y = (128 * rng.integers(-6, 134, size=(2, 5)) + rng.integers(0, 3) * (seed % 2) for _ in range(2))
    words = fill(x, y)
    assert words.shape == (2, 2, 64)
    for i, j in itertools.product(range(2), range(2)):
        vertices = list(zip(x[i].tolist(), y[j].tolist(), strict=True))
        for row in range(0, 64, 3):
            bits = [int(words[i, j, row]) >> (63 - column) & 1 for column in range(64)]
            assert bits == [inside(256 * column + 128, 256 * row + 128, vertices) for column in range(64)]


def test_of_edges_on_pixel_centres_the_upper_and_the_left_belong_to_the_polygon():
    corners = 256 * np.array([[10, 14, 14, 10], [20, 20, 23, 23]]) + 128
    bits = np.unpackbits(fill(corners[:1], corners[1:]).astype(">u8").view(np.uint8)).reshape(64, 64)
    assert np.argwhere(bits).tolist() == [[y, x] for y in range(20, 23) for x in range(10, 14)]


def test_outlines_have_their_known_measures():
    square, ellipse, heart = (outline(SHAPES[name]) for name in SHAPES)
    np.testing.assert_allclose(np.abs(square), 9.6)
    np.testing.assert_allclose((ellipse**2 / [[12.768**2, (9.6 / 1.33) ** 2]]).sum(1), 1)
    np.testing.assert_allclose(np.abs(heart[:, 0]).max(), 9.6, rtol=1e-3)
    k, rise = 9.6 / 14.5, 1.44
    np.testing.assert_allclose(heart[0], [0, -5 * k - rise])
    np.testing.assert_allclose(heart[75], [0, 17 * k - rise], atol=1e-12)
    np.testing.assert_allclose(heart[1:75], heart[:75:-1] * [[-1, 1]], atol=1e-12)
    assert [len(vertices) for vertices in (square, ellipse, heart)] == [4, 100, 150]


@pytest.mark.parametrize("shape", [-1, 3])
def test_a_shape_that_is_not_there_is_refused(shape):
    with pytest.raises(UsageError, match=rf"0 \(square\), 1 \(ellipse\) or 2 \(heart\); got {shape}"):
        render(shape, 0, 0)


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_a_sprite_is_its_outline_turned_scaled_and_moved(drawing):
    shape, scale, orientation = drawing
    drawn = images(*drawing)
    angle = 2 * np.pi * orientation / 39
    against_the_clock = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centres = np.stack(np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5), axis=-1).reshape(-1, 2)
    differing = 0
    for x, y in [(0, 0), (31, 31), (4, 27), (17, 8)]:
        vertices = (0.5 + 0.1 * scale) * outline(shape) @ against_the_clock.T + 16 + 32 * np.array([x, y]) / 31
        truth = Polygon(vertices).contains_points(centres).reshape(64, 64)
        differing += int((drawn[x, y] != truth).sum())
    # Vertices are rounded to 1/256 of a pixel: a centre that is as near to an edge may be on either side.
    assert differing <= 2


def test_a_move_of_32_pixels_changes_nothing_else():
    drawn = images(2, 4, 9)
    np.testing.assert_array_equal(drawn[31, 0], np.roll(drawn[0, 0], 32, axis=1))
    np.testing.assert_array_equal(drawn[0, 31], np.roll(drawn[0, 0], 32, axis=0))


@pytest.mark.parametrize("shape", SHAPES.values())
def test_the_last_orientation_repeats_the_first(shape):
    np.testing.assert_array_equal(render(shape, 3, 39), render(shape, 3, 0))
    assert (render(shape, 3, 1) != render(shape, 3, 0)).any()


def test_sprites_stay_within_the_image():
    for shape in SHAPES.values():
        x, y = place(outline(shape), 5, 5)
        assert min(x.min(), y.min()) > 0
        assert max(x.max(), y.max()) < 64 * 256


def test_the_grid_is_drawn_in_order_of_shape_scale_and_orientation():
    blocks = list(itertools.islice(render_all(), 42))
    for number, (scale, orientation) in {0: (0, 0), 1: (0, 1), 39: (0, 39), 40: (1, 0), 41: (1, 1)}.items():
        np.testing.assert_array_equal(blocks[number], render(0, scale, orientation))


@pytest.mark.slow
def test_the_grid_is_fixed_to_the_bit_and_has_the_published_mean():
    digest, ones, count = hashlib.sha256(), 0, 0
    for block in render_all():
        digest.update(block.tobytes())
        ones += int(np.unpackbits(block).sum(dtype=np.int64))
        count += len(block)
    assert (count, ones, digest.hexdigest()) == (737_280, ONES, ALL)
    assert abs(ones / (count * 64 * 64) / compare.PUBLISHED_MEAN - 1) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_no_pixel_differs_from_the_published_frames(data_dir, shape):
    if not (data_dir / compare.FRAMES).is_file():
        pytest.skip(f"no {compare.FRAMES} in {data_dir}")
    frames = compare.read_frames(data_dir / compare.FRAMES)
    assert compare.differing(frames, shape).tolist() == [0] * {"square": 64, "ellipse": 64, "heart": 192}[shape]


def test_the_recorded_differences_are_those_of_this_geometry():
    record = json.loads((ROOT / "results" / "dsprites-rendering.json").read_text())
    assert record["geometry"] == vars(GEOMETRY)
    assert [record["frames"][shape]["differing"] for shape in SHAPES] == [0, 0, 0]
    assert record["whole_grid"]["ones"] == ONES
