"""Reverse water-filling by bisection on the water level, in plain Python (Cover and Thomas, section 10.3.3)."""

import math
from collections.abc import Sequence


def rate_at_squared_error(eigenvalues: Sequence[float], squared_error: float) -> float:
    """Return the least rate, in nats, at which a Gaussian source keeps its squared error.

    Args:
        eigenvalues: variance of each independent component.
        squared_error: allowed, summed over components; above 0 and below their sum.
    """
    low, high = 0.0, max(eigenvalues)
    for _ in range(200):
        level = (low + high) / 2
        if sum(min(level, value) for value in eigenvalues) < squared_error:
            low = level
        else:
            high = level
    return sum(math.log(value / high) / 2 for value in eigenvalues if value > high)


def least_objective(eigenvalues: Sequence[float], left_out: Sequence[float], beta: float) -> float:
    """Return the least D + beta R, without the constant of the likelihood, by ternary search over each log error.

    Args:
        eigenvalues: variances of the components that have a latent.
        left_out: variances of the others.
        beta: the price of a nat.
    """
    total = sum(left_out) / 2
    for value in eigenvalues:

        def cost(log_error: float, value: float = value) -> float:
            return math.exp(log_error) / 2 + beta * (math.log(value) - log_error) / 2

        low, high = math.log(value) - 60, math.log(value)
        for _ in range(300):
            third = (high - low) / 3
            if cost(low + third) < cost(high - third):
                high -= third
            else:
                low += third
        total += cost((low + high) / 2)
    return total
