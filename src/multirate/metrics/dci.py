r"""Disentanglement, completeness and informativeness (Eastwood and Williams 2018)."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from multirate.errors import DataError, UsageError
from multirate.metrics.base import Batch, Measure
from multirate.metrics.factor_table import FactorTable, checked_means, coded
from multirate.seeding import generator

TREES = 50
# Examples in a leaf at least. Finer trees fit noise, and importance leaks to latents that hold nothing.
LEAF = 20
HELD_OUT = 0.2
_SEEDS = 2**31


def dci(means: Tensor, factors: Tensor, *, trees: int = TREES, seed: int = 0) -> dict[str, float]:
    """Return disentanglement, completeness and informativeness of posterior means.

    Args:
        means: posterior means, ``[N, Z]``.
        factors: index of each factor's value, integers, ``[N, F]``.
        trees: of each factor's predictor.
        seed: of the trees, and of which fifth of the examples is held out.

    Returns:
        ``dci_disentanglement`` and ``dci_completeness`` of :func:`importances`, and ``dci_informativeness``, the share
        of a factor's variance that its predictor explains on held-out examples, none below 0, mean over factors.

    Raises:
        UsageError: if there are fewer than two latents or factors.
        DataError: if the means are not finite or not ``[N, Z]``, the factors are not integers ``[N, F]``, or one has a
            single value.
    """
    return _numbers(*importances(means, factors, trees=trees, seed=seed))


def disentanglement(importances: Tensor) -> float:
    r"""Return how much each latent is about one factor alone, weighted by how important the latent is.

    .. math::
        \sum_j \rho_j \Bigl(1 + \sum_k P_{jk} \log_F P_{jk}\Bigr), \qquad
        P_{jk} = \frac{R_{jk}}{\sum_k R_{jk}}, \qquad \rho_j = \frac{\sum_k R_{jk}}{\sum_{jk} R_{jk}}

    Args:
        importances: R, of each latent for each factor, not negative, ``[Z, F]``.

    Returns:
        From 0 (each latent matters for all factors alike, or none for any) to 1.

    Raises:
        UsageError: if there are fewer than two factors.
        DataError: if the importances are not such a matrix.
    """
    importances = _checked(importances)
    if importances.shape[1] < 2:
        raise UsageError("disentanglement compares factors: it needs at least 2 that vary; got 1")
    weights = importances.sum(1)
    return float((weights * _concentration(importances)).sum() / weights.sum()) if weights.any() else 0.0


def completeness(importances: Tensor) -> float:
    r"""Return how much each factor is held by one latent alone, mean over factors.

    .. math::
        \frac1F \sum_k \Bigl(1 + \sum_j \tilde P_{jk} \log_Z \tilde P_{jk}\Bigr), \qquad
        \tilde P_{jk} = \frac{R_{jk}}{\sum_j R_{jk}}

    Args:
        importances: R, of each latent for each factor, not negative, ``[Z, F]``.

    Returns:
        From 0 to 1; a factor for which no latent matters counts as 0.

    Raises:
        UsageError: if there are fewer than two latents.
        DataError: if the importances are not such a matrix.
    """
    importances = _checked(importances)
    if len(importances) < 2:
        raise UsageError("completeness compares latents: it needs at least 2; got 1")
    return float(_concentration(importances.T).mean())


def importances(means: Tensor, factors: Tensor, *, trees: int = TREES, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Predict each factor from the means, and say how much each latent mattered, and how well it went.

    The predictor is scikit-learn's ``ExtraTreesRegressor`` on the index of the factor's value; a latent's importance is
    its part of the variance that the trees' splits take away. Regression, as in the original, because trees of
    classifiers spend most of their splits on telling neighbouring values apart, which noise decides: much of the
    importance then goes to latents that hold nothing. All latents are tried at each split, so that none is used for
    want of a better one, at thresholds drawn at random, so that among latents which tell nearly the same not one takes
    all. Boosted trees say much the same and take several times as long.

    Args:
        means: posterior means, ``[N, Z]``.
        factors: index of each factor's value, integers, ``[N, F]``.
        trees: of each factor's predictor.
        seed: of the trees, and of which fifth of the examples is held out.

    Returns:
        Importances ``[Z, F]``, which sum to 1 for each factor, or to 0 if the trees found nothing to split; and the
        share of the variance of each factor that is explained on held-out examples, from 0 to 1, ``[F]``; float64.

    Raises:
        UsageError: if there are fewer than two latents, or not at least one tree.
        DataError: if the means are not finite or not ``[N, Z]``, the factors are not integers ``[N, F]``, or one has a
            single value.
    """
    from sklearn.ensemble import ExtraTreesRegressor

    if trees < 1:
        raise UsageError(f"trees must be at least 1; got {trees}")
    x = checked_means(means, latents=2).numpy()
    codes = coded(factors, len(x)).numpy().astype(np.float64)
    order = torch.randperm(len(x), generator=generator(seed, "dci")).numpy()
    held, rest = np.split(order, [max(1, int(HELD_OUT * len(x)))])
    found, explained = [], []
    for target in codes.T:
        predictor = ExtraTreesRegressor(
            trees, min_samples_leaf=LEAF, max_features=None, random_state=seed % _SEEDS, n_jobs=1
        )
        predictor.fit(x[rest], target[rest])
        error = np.square(predictor.predict(x[held]) - target[held]).mean()
        found.append(predictor.feature_importances_)
        explained.append(max(0.0, 1 - error / np.square(target[held] - target[rest].mean()).mean()))
    return torch.from_numpy(np.stack(found, axis=1)), torch.tensor(explained, dtype=torch.float64)


def _numbers(importances: Tensor, informativeness: Tensor) -> dict[str, float]:
    return {
        "dci_disentanglement": disentanglement(importances),
        "dci_completeness": completeness(importances),
        "dci_informativeness": float(informativeness.mean()),
    }


def _checked(importances: Tensor) -> Tensor:
    importances = importances.to(torch.float64)
    if (
        importances.ndim != 2
        or not importances.numel()
        or not bool((importances >= 0).all() & (importances < 1e300).all())
    ):
        raise DataError(
            f"importances are a matrix [Z, F] of finite values, at least 0; got {list(importances.shape)} "
            f"from {float(importances.min()) if importances.numel() else 0:g}"
        )
    return importances


def _concentration(rows: Tensor) -> Tensor:
    """Return 1 minus the entropy of each row in units of that of a uniform one, and 0 for a row of zeros."""
    totals = rows.sum(1, keepdim=True)
    shares = rows / torch.where(totals > 0, totals, 1.0)
    entropy = torch.special.entr(shares).sum(1) / torch.tensor(float(rows.shape[1]), dtype=torch.float64).log()
    return torch.where(totals.squeeze(1) > 0, 1 - entropy, 0.0)


class DCI(Measure):
    """:func:`dci` of an evaluation, on its first examples."""

    def __init__(self) -> None:
        self._table = FactorTable("dci")
        self._importances = torch.zeros(0, 0)

    def update(self, batch: Batch) -> None:
        """Add a batch's posterior means and factors.

        Raises:
            UsageError: if the data have no factors, or the model no posterior mean.
        """
        self._table.update(batch)

    def result(self, model: nn.Module, beta: float) -> dict[str, float]:
        """Return the three numbers."""
        seed = int(torch.randint(_SEEDS, ()))
        self._importances, informativeness = importances(self._table.means, self._table.known.values, seed=seed)
        return _numbers(self._importances, informativeness)

    def latents(self) -> dict[str, list[float]]:
        """Return the importance of each latent for each factor."""
        columns = zip(self._table.known.names, self._importances.T.tolist(), strict=True)
        return {f"importance_for_{name}": column for name, column in columns}

    def settings(self) -> dict[str, Any]:
        """Return the predictor, the number of examples, and the factors."""
        return {
            "predictor": "ExtraTreesRegressor",
            "trees": TREES,
            "min_samples_leaf": LEAF,
            "held_out": HELD_OUT,
            **self._table.known.settings(),
        }
