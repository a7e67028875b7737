"""The discretised logistic mixture by its definition, one pixel and one level after the other, in float64."""

import math
from collections.abc import Sequence

import numpy as np


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t)) if t >= 0 else math.exp(t) / (1 + math.exp(t))


def level_probability(level: int, location: float, scale: float) -> float:
    """Probability that a logistic, cut at both ends and rounded, gives a level from 0 to 255."""
    y = 2 * level / 255 - 1
    if y > location:  # mirrored, so that two numbers near 1 are not subtracted
        level, y, location = 255 - level, -y, -location
    above = 1.0 if level == 255 else sigmoid((y + 1 / 255 - location) / scale)
    below = 0.0 if level == 0 else sigmoid((y - 1 / 255 - location) / scale)
    return above - below


def pixel_probability(raw: np.ndarray, levels: Sequence[int]) -> float:
    """Probability of one pixel, given its K (1 + 2 C + C (C - 1) / 2) parameters and its C levels."""
    channels = len(levels)
    pairs = [(late, early) for late in range(channels) for early in range(late)]
    components = len(raw) // (1 + 2 * channels + len(pairs))
    blocks = raw.reshape(-1, components)
    weights = np.exp(blocks[0]) / np.exp(blocks[0]).sum()
    y = [2 * level / 255 - 1 for level in levels]
    total = 0.0
    for k in range(components):
        product = weights[k]
        for channel in range(channels):
            location = blocks[1 + channel][k]
            scale = math.exp(-7 + math.log1p(math.exp(7 + blocks[1 + channels + channel][k])))
            for index, (late, early) in enumerate(pairs):
                if late == channel:
                    location += math.tanh(blocks[1 + 2 * channels + index][k]) * y[early]
            product *= level_probability(levels[channel], location, scale)
        total += product
    return total
