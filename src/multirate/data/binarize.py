"""Binary images from gray ones, once and for all."""

from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from multirate.errors import UsageError

Binarize: TypeAlias = Literal["static", "threshold", "none"]

_CHUNK = 1 << 20


def static_bits(gray: NDArray[np.uint8], levels: int, seed: int) -> NDArray[np.bool_]:
    r"""Draw each pixel once, :math:`x \sim \mathrm{Bernoulli}(g / \text{levels})`, by a fixed generator.

    Pixel number i, in C order, is 1 where the i-th ``random_sample`` of ``numpy.random.RandomState(seed)`` is below
    ``g / levels``. NumPy keeps that stream frozen across versions, so the bits are the same on every machine.

    Args:
        gray: intensities from 0 to ``levels``, any shape.
        levels: the intensity of a pixel that is always 1.
        seed: of the generator.

    Returns:
        Bits of the same shape.
    """
    flat = np.ascontiguousarray(gray).reshape(-1)
    probability = np.arange(256, dtype=np.float64) / levels
    bits = np.empty(flat.shape, dtype=np.bool_)
    stream = np.random.RandomState(seed)
    for start in range(0, flat.size, _CHUNK):
        part = slice(start, min(start + _CHUNK, flat.size))
        np.less(stream.random_sample(part.stop - start), probability[flat[part]], out=bits[part])
    return bits.reshape(gray.shape)


def binarized(
    gray: NDArray[np.uint8], how: Binarize, *, levels: int, seed: int
) -> tuple[NDArray[np.bool_] | NDArray[np.uint8], dict[str, Any]]:
    """Apply one of the ways to make gray images binary.

    Args:
        gray: intensities from 0 to ``levels``.
        how: ``static`` (:func:`static_bits`), ``threshold`` (1 above half of ``levels``) or ``none`` (gray, as it is).
        levels: the intensity of white.
        seed: of the static draw.

    Returns:
        The images, and what the record of a run should say of them.

    Raises:
        UsageError: if ``how`` is unknown.
    """
    if how == "static":
        return static_bits(gray, levels, seed), {"binarize": how, "binarize_seed": seed}
    if how == "threshold":
        return gray > levels // 2, {"binarize": how}
    if how == "none":
        return gray, {"binarize": how}
    raise UsageError(f"unknown binarize {how!r}; choose one of {', '.join(get_args(Binarize))}")


def permutation(n: int, seed: int) -> NDArray[np.int64]:
    """Return the fixed permutation of ``n`` items that a split is cut from; the same on every machine."""
    order: NDArray[np.int64] = np.random.RandomState(seed).permutation(n).astype(np.int64)
    return order
