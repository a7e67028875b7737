r"""How well a latent space separates labels, such as types of cells, and mixes batches, as scIB measures it.

Both are average silhouette widths, scaled to [0, 1], higher better (Luecken et al. 2022, Benchmarking atlas-level data
integration in single-cell genomics, Nature Methods 19). A point's silhouette is
:math:`s_i = (b_i - a_i) / \max(a_i, b_i)`, with :math:`a_i` its mean distance from its own group and :math:`b_i` that
from the nearest other one. It does not change with the scale of the space.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multirate.errors import UsageError


def silhouette_label(latents: ArrayLike, labels: ArrayLike) -> float:
    r"""Return :math:`(1 + \bar s) / 2` for the labels: 1 where points of one label lie together, far from the others.

    Args:
        latents: one row a point, ``[N, Z]``.
        labels: of each point, ``[N]``.

    Raises:
        UsageError: if there is not one label a point, fewer than two labels, or a latent is not finite.
    """
    z, groups = _checked(latents, labels, "labels")
    if not 1 < len(np.unique(groups)) < len(z):
        raise UsageError(f"silhouettes need 2 labels at least, and fewer than points; got {len(np.unique(groups))}")
    return (1 + float(_silhouettes(z, groups).mean())) / 2


def silhouette_batch(latents: ArrayLike, labels: ArrayLike, batches: ArrayLike) -> float:
    r"""Return the mean over labels of the mean of :math:`1 - |s_i|` for the batches among the points of one label.

    It is 1 where each label's batches are mixed. Labels whose points are of one batch, or all of different ones, are
    left out.

    Args:
        latents: one row a point, ``[N, Z]``.
        labels: of each point, ``[N]``.
        batches: of each point, ``[N]``.

    Raises:
        UsageError: if there is not one label and batch a point, no label has points of two batches, or a latent is
            not finite.
    """
    z, groups = _checked(latents, labels, "labels")
    mixed = _checked(latents, batches, "batches")[1]
    widths = []
    for label in np.unique(groups):
        inside = groups == label
        if 1 < len(np.unique(mixed[inside])) < inside.sum():
            widths.append(1 - float(np.abs(_silhouettes(z[inside], mixed[inside])).mean()))
    if not widths:
        raise UsageError("no label has points of two batches; leave batches out")
    return float(np.mean(widths))


def _silhouettes(z: NDArray[np.float64], groups: NDArray[Any]) -> NDArray[np.float64]:
    from sklearn.metrics import silhouette_samples

    return np.asarray(silhouette_samples(z, groups), dtype=np.float64)


def _checked(latents: ArrayLike, groups: ArrayLike, what: str) -> tuple[NDArray[np.float64], NDArray[Any]]:
    z = np.asarray(latents, dtype=np.float64)
    if not np.isfinite(z).all():
        raise UsageError("the latents are not finite: the model has diverged; train with a smaller learning rate")
    codes = np.unique(np.asarray(groups).astype(str), return_inverse=True)[1]
    if codes.shape != z.shape[:1]:
        raise UsageError(f"{what} must be one a point, {len(z)}; got {list(codes.shape)}")
    return z, codes
