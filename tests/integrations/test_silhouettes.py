"""Silhouettes against their definition, written out."""

import numpy as np
import pytest
from numpy.typing import NDArray

from multirate.errors import UsageError
from multirate.integrations.silhouettes import silhouette_batch, silhouette_label

RNG = np.random.default_rng(0)
LATENTS = RNG.normal(size=(12, 3))
LABELS = ["a"] * 5 + ["b"] * 4 + ["c"] * 3
BATCHES = [0, 1, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0]


def silhouette(z: NDArray[np.float64], groups: NDArray[np.str_], index: int) -> float:
    distances = np.sqrt(((z - z[index]) ** 2).sum(1))
    own = groups == groups[index]
    if own.sum() == 1:
        return 0.0
    within = distances[own].sum() / (own.sum() - 1)
    nearest = min(distances[groups == other].mean() for other in set(groups) - {groups[index]})
    return float((nearest - within) / max(within, nearest))


def test_silhouette_of_labels_is_the_mean_width_scaled_to_0_and_1() -> None:
    groups = np.array(LABELS)
    widths = [silhouette(LATENTS, groups, i) for i in range(len(LATENTS))]
    assert silhouette_label(LATENTS, LABELS) == pytest.approx((1 + np.mean(widths)) / 2)


def test_silhouette_of_batches_is_a_mean_over_labels_of_the_width_within_each() -> None:
    by_label = []
    for label in ("a", "b"):  # the cells of c are of one batch
        inside = np.array(LABELS) == label
        z, groups = LATENTS[inside], np.array(BATCHES)[inside].astype(str)
        by_label.append(np.mean([1 - abs(silhouette(z, groups, i)) for i in range(len(z))]))
    assert silhouette_batch(LATENTS, LABELS, BATCHES) == pytest.approx(np.mean(by_label))


def test_separate_labels_give_1_and_mixed_ones_a_half() -> None:
    far = np.array([[0.0], [0.001], [100.0], [100.001]])
    assert silhouette_label(far, [0, 0, 1, 1]) == pytest.approx(1, abs=1e-4)
    assert silhouette_label(RNG.normal(size=(400, 2)), RNG.integers(2, size=400)) == pytest.approx(0.5, abs=0.01)


def test_separate_batches_give_0_and_mixed_ones_1() -> None:
    far = np.array([[0.0], [0.001], [100.0], [100.001]])
    assert silhouette_batch(far, ["a"] * 4, [0, 0, 1, 1]) == pytest.approx(0, abs=1e-4)
    mixed = RNG.normal(size=(400, 2))
    assert silhouette_batch(mixed, ["a"] * 400, RNG.integers(2, size=400)) == pytest.approx(1, abs=0.05)


def test_neither_depends_on_scale() -> None:
    assert silhouette_label(1e-3 * LATENTS, LABELS) == pytest.approx(silhouette_label(LATENTS, LABELS))
    assert silhouette_batch(1e3 * LATENTS, LABELS, BATCHES) == pytest.approx(silhouette_batch(LATENTS, LABELS, BATCHES))


def test_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match=r"labels must be one a point, 12; got \[3\]"):
        silhouette_label(LATENTS, LABELS[:3])
    with pytest.raises(UsageError, match=r"batches must be one a point, 12; got \[2\]"):
        silhouette_batch(LATENTS, LABELS, [0, 1])
    for labels in (["a"] * 12, list(range(12))):
        with pytest.raises(UsageError, match="silhouettes need 2 labels at least"):
            silhouette_label(LATENTS, labels)
    with pytest.raises(UsageError, match="no label has points of two batches"):
        silhouette_batch(LATENTS, LABELS, LABELS)
