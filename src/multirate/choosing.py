"""Choosing a beta on a measured curve: for a rate, a distortion, or the best value of a measure."""

from dataclasses import dataclass

from multirate.curve import Curve, Point
from multirate.errors import UsageError


@dataclass(frozen=True)
class Choice:
    """A beta, and what to expect of the model there.

    Args:
        beta: chosen.
        expected: the curve's measures at that beta, measured there or interpolated.
        note: what to know of the choice; empty if nothing.
    """

    beta: float
    expected: Point
    note: str = ""


def choose_budget(curve: Curve, *, rate: float | None = None, distortion: float | None = None) -> Choice:
    """Choose the beta of a wanted rate or distortion, by :meth:`multirate.Curve.beta_for`.

    Args:
        curve: of a model.
        rate: nats an example.
        distortion: nats an example; give this or ``rate``.

    Returns:
        The choice; its measures are interpolated in log beta.

    Raises:
        UsageError: unless exactly one is given, or if it is not reachable.
    """
    beta = curve.beta_for(rate=rate, distortion=distortion)
    return Choice(beta, curve.at(beta))


def choose_best(curve: Curve, measure: str = "elbo", *, lowest: bool = False) -> Choice:
    """Choose the measured beta at which a measure is best.

    It is a point of the curve, not a place between two: what is expected there was measured, and near a maximum a
    curve is so flat that what lies between points gains less than the noise of most measures. The note names the
    neighbours; evaluate more betas between them to look closer. Of equal values the smallest beta is taken.

    Args:
        curve: of a model.
        measure: of :func:`named_measure`.
        lowest: look for the lowest value instead of the highest.

    Returns:
        The choice. Its note says where the range of beta ends at it.

    Raises:
        UsageError: if the curve has no such measure, or several of that name.
    """
    name = named_measure(curve, measure)
    beta = curve.best(name, lowest=lowest)
    values, betas = curve.values(name), curve.betas.tolist()
    place, kind = betas.index(beta), "lowest" if lowest else "highest"
    if values.min() == values.max():
        note = f"{name} is the same at every measured beta" if len(curve) > 1 else ""
    elif place in (0, len(curve) - 1):
        note = (
            f"the {kind} {name} is at the {'smaller' if place == 0 else 'larger'} end of the measured betas "
            f"({betas[0]:.3g} to {betas[-1]:.3g}); it may lie beyond: evaluate or train with a wider range"
        )
    else:
        note = f"the {kind} {name} of {len(curve)} measured betas; its neighbours are {betas[place - 1]:.3g} and "
        note += f"{betas[place + 1]:.3g}"
    return Choice(beta, curve.at(beta), note)


def named_measure(curve: Curve, name: str) -> str:
    """Return the measure of a curve that a name means: itself, or the only one that has it before its bracket.

    Args:
        curve: of a model.
        name: such as ``elbo``, or ``frechet_distance`` for ``frechet_distance[efficientnet_lite0]``.

    Raises:
        UsageError: if there is none, naming those that are there, or several.
    """
    words = name.strip().replace(" ", "_").replace("-", "_")
    for known in (name, words):
        if known in curve.measures:
            return known
    found = [measure for measure in curve.measures if measure.partition("[")[0] == words]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{name} is of several networks on this curve; name one of {', '.join(found)}")
    raise UsageError(f"the curve has no measure {name!r}; it has {', '.join(curve.measures)}{_remedy(words)}")


def _remedy(name: str) -> str:
    """Say which measure of an evaluation gives a number, if one does."""
    from multirate.metrics.makers import MAKERS, PART_OF

    measure = PART_OF.get(name.partition("[")[0], name)
    return f": `multirate evaluate RUN --measures {measure}` gives it" if measure in MAKERS else ""
