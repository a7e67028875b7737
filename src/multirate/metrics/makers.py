"""The measures of an evaluation by name, and which numbers each of them gives."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from multirate.errors import UsageError
from multirate.metrics.active_units import ActiveUnits
from multirate.metrics.base import Measure
from multirate.metrics.dci import DCI
from multirate.metrics.decomposition import Decomposition
from multirate.metrics.factor_vae_score import FactorVAEScore
from multirate.metrics.frechet_distance import distances
from multirate.metrics.isometric_importance import IsometricImportance
from multirate.metrics.log_likelihood import make_log_likelihood
from multirate.metrics.mutual_information_gap import MutualInformationGap
from multirate.metrics.options import MeasureOptions

Maker = Callable[[MeasureOptions], Callable[[], Measure]]


def _active_units(options: MeasureOptions) -> Callable[[], Measure]:
    return partial(ActiveUnits, options.active_threshold)


def _decomposition(options: MeasureOptions) -> Callable[[], Measure]:
    return Decomposition


def _isometric_importance(options: MeasureOptions) -> Callable[[], Measure]:
    return IsometricImportance


def _mutual_information_gap(options: MeasureOptions) -> Callable[[], Measure]:
    return MutualInformationGap


def _dci(options: MeasureOptions) -> Callable[[], Measure]:
    return DCI


def _factor_vae_score(options: MeasureOptions) -> Callable[[], Measure]:
    return partial(FactorVAEScore, options.active_threshold)


MAKERS: Mapping[str, Maker] = {
    "active_units": _active_units,
    "decomposition": _decomposition,
    "log_likelihood": make_log_likelihood,
    "isometric_importance": _isometric_importance,
    "frechet_distance": distances,
    "mutual_information_gap": _mutual_information_gap,
    "dci": _dci,
    "factor_vae_score": _factor_vae_score,
}
# A number may be asked for by its own name.
PART_OF = {
    "mutual_information": "decomposition",
    "total_correlation": "decomposition",
    "dimension_wise_kl": "decomposition",
    "marginal_kl": "decomposition",
    "kernel_distance": "frechet_distance",
    "reconstruction_frechet_distance": "frechet_distance",
    "reconstruction_kernel_distance": "frechet_distance",
    "dci_disentanglement": "dci",
    "dci_completeness": "dci",
    "dci_informativeness": "dci",
}
MEASURES = tuple(MAKERS)
USUAL_MEASURES = ("active_units",)


def known_measures(names: Iterable[str]) -> tuple[str, ...]:
    """Return the measures that give what is asked for, each once.

    Args:
        names: of measures, or of numbers that a measure gives.

    Raises:
        UsageError: if one is unknown.
    """
    found = [PART_OF.get(name, name) for name in names]
    for name in found:
        if name not in MAKERS:
            raise UsageError(f"unknown measure {name!r}; choose from {', '.join(MEASURES)}")
    return tuple(dict.fromkeys(found))
