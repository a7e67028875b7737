"""The measures of an evaluation by name, and which numbers each of them gives."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from multirate.errors import UsageError
from multirate.metrics.active_units import ActiveUnits
from multirate.metrics.base import Measure
from multirate.metrics.decomposition import Decomposition
from multirate.metrics.options import MeasureOptions

Maker = Callable[[MeasureOptions], Callable[[], Measure]]


def _active_units(options: MeasureOptions) -> Callable[[], Measure]:
    return partial(ActiveUnits, options.active_threshold)


def _decomposition(options: MeasureOptions) -> Callable[[], Measure]:
    return Decomposition


MAKERS: Mapping[str, Maker] = {
    "active_units": _active_units,
    "decomposition": _decomposition,
}
# A number may be asked for by its own name.
PART_OF = {
    "mutual_information": "decomposition",
    "total_correlation": "decomposition",
    "dimension_wise_kl": "decomposition",
    "marginal_kl": "decomposition",
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
