"""The gate of one latent at one beta, in plain Python."""

import math

FLOOR = 1e-6


def latent_gate(threshold: float, beta: float) -> tuple[float, float]:
    """Return the nats of precision t = log(1 + e^(8 D)) / 8, with D = threshold - log beta, and sqrt(1 - e^-t).

    Args:
        threshold: xi, nats.
        beta: positive.
    """
    steep = 8 * (threshold - math.log(beta))
    t = (max(steep, 0.0) + math.log1p(math.exp(-abs(steep)))) / 8
    return t, math.sqrt(max(-math.expm1(-t), FLOOR))
