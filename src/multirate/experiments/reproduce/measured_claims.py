"""How claims on further measures are judged: active units, Frechet distance, mutual information gap against beta."""

import itertools

from multirate.comparison import signed
from multirate.errors import UsageError
from multirate.experiments.reproduce.judging import mean_curve
from multirate.experiments.reproduce.recipe import Claim, Measured

# Of one beta: the beta, our number, theirs.
Pair = tuple[float, float, float]


def side_by_side(ours: Measured, theirs: Measured, measure: str) -> list[Pair]:
    """Return a measure of two arms at the second one's betas, means over seeds.

    Args:
        ours: the multi-rate model.
        theirs: dedicated models.
        measure: that both curves have.

    Returns:
        Beta, ours and theirs, for each beta of theirs that our curve reaches.

    Raises:
        UsageError: if a curve lacks the measure, or there is no such beta.
    """
    curve, other = mean_curve(ours), mean_curve(theirs)
    values = other.values(measure)
    curve.values(measure)
    low, high = curve.betas[0] * (1 - 1e-6), curve.betas[-1] * (1 + 1e-6)
    found = [
        (float(beta), curve.at(float(beta))[measure], float(value))
        for beta, value in zip(other.betas, values, strict=True)
        if low <= beta <= high
    ]
    if not found:
        raise UsageError(f"{ours.arm.label!r} was measured at no beta of {theirs.arm.label!r}; measure it at these")
    return found


def falling_claim(text: str, paper: str, measured: Measured, measure: str, *, rise: float) -> Claim:
    """Judge that a measure falls as beta grows: it rises nowhere by more than so much, and is lower at the end.

    Args:
        text: of the claim; the rule is put after it.
        paper: the paper's words.
        measured: the arm.
        measure: of its curve.
        rise: largest rise from one beta to the next at which the claim holds.
    """
    values = mean_curve(measured).values(measure)
    largest = max((float(after - before) for before, after in itertools.pairwise(values)), default=0.0)
    rule = f"from one β to the next it rises by at most {rise:g}, and it is lower at the last than at the first"
    ours = f"from {values[0]:.3g} to {values[-1]:.3g}, largest rise {max(0.0, largest):.3g}"
    return Claim(f"{text} ({rule})", paper, ours, largest <= rise and bool(values[-1] < values[0]))


def difference_claim(
    text: str, paper: str, ours: Measured, theirs: Measured, measure: str, *, at_most: float, unit: str = ""
) -> Claim:
    """Judge that a measure of two arms agrees at each of the second one's betas.

    Args:
        text: of the claim; the rule is put after it.
        paper: the paper's words.
        ours: the multi-rate model.
        theirs: dedicated models.
        measure: of both curves.
        at_most: largest size of a difference at which the claim holds.
        unit: of the measure, in words.
    """
    beta, our, their = max(side_by_side(ours, theirs, measure), key=lambda pair: abs(pair[1] - pair[2]))
    named = f" {unit}" if unit else ""
    found = f"largest difference {signed(our - their)}{named} at β = {beta:.3g}: {our:.3g} against {their:.3g}"
    return Claim(f"{text} (differs by at most {at_most:g}{named})", paper, found, abs(our - their) <= at_most)


def excess_claim(text: str, paper: str, ours: Measured, theirs: Measured, measure: str, *, at_most: float) -> Claim:
    """Judge that a measure, of which less is better, exceeds the other arm's by no more than a share of it.

    Args:
        text: of the claim; the rule is put after it.
        paper: the paper's words.
        ours: the multi-rate model.
        theirs: dedicated models.
        measure: of both curves, positive.
        at_most: largest share at which the claim holds, such as 0.1.
    """
    beta, our, their = max(side_by_side(ours, theirs, measure), key=lambda pair: pair[1] / pair[2])
    more = our / their - 1
    found = f"at worst {more:+.1%} at β = {beta:.3g}: {our:.4g} against {their:.4g}".replace("-", "\N{MINUS SIGN}")
    return Claim(f"{text} (at most {at_most:.0%} above at each β)", paper, found, more <= at_most)


def order_claim(
    text: str,
    paper: str,
    ours: Measured,
    theirs: Measured,
    measure: str,
    *,
    absolute: float = 0.0,
    relative: float = 0.0,
) -> Claim:
    """Judge that a measure takes the same course over beta in two arms: all pairs of betas are in the same order.

    Pairs at which the dedicated models hardly differ say nothing and are left out; where none is left, the course
    cannot be told, and the claim does not hold.

    Args:
        text: of the claim; the rule is put after it.
        paper: the paper's words.
        ours: the multi-rate model.
        theirs: dedicated models.
        measure: of both curves.
        absolute: a difference of the dedicated models' numbers that is no difference.
        relative: the same, as a share of the larger number; the larger of the two bounds counts.
    """
    pairs = [
        (second[1] - first[1], second[2] - first[2])
        for first, second in itertools.combinations(side_by_side(ours, theirs, measure), 2)
        if abs(second[2] - first[2]) > max(absolute, relative * max(abs(first[2]), abs(second[2])))
    ]
    apart = f"{relative:.0%}" if relative else f"{absolute:g}"
    rule = f"each two β at which the dedicated models differ by more than {apart} are in the same order"
    if not pairs:
        return Claim(f"{text} ({rule})", paper, "no two β differ that much: there is no order to agree with", False)
    agreeing = sum(our * their > 0 for our, their in pairs)
    return Claim(f"{text} ({rule})", paper, f"{agreeing} of {len(pairs)} pairs", agreeing == len(pairs))
