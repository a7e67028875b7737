"""Where a curve collapses: at which beta each latent dies, where the curve moves, how far it is from a bound."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from multirate.curve import Curve, FloatArray, pchip
from multirate.errors import DataError, UsageError
from multirate.files import read_json, write_json
from multirate.plain import from_plain

SCHEMA = "multirate.collapse/1"
THRESHOLD = 0.01
# The curve moves while its rate is between these parts of the way from its least to its largest.
MOVING = (0.95, 0.05)

Fate = Literal["dies", "alive throughout", "alive at the end", "never alive"]
_STAYING: tuple[Fate, ...] = ("alive throughout", "alive at the end", "never alive")


@dataclass(frozen=True)
class LatentFate:
    """What becomes of one latent as beta grows.

    Args:
        fate: ``"dies"`` at ``beta``; ``"alive throughout"``: at every measured beta; ``"alive at the end"``: at the
            largest, though not at all of them; ``"never alive"``: at none.
        beta: where its rate crosses the threshold for the last time, downward; None unless it dies.
        reopens: how often it had been dead, at a smaller beta, and came back to life after having been alive.
    """

    fate: Fate
    beta: float | None = None
    reopens: int = 0


@dataclass(frozen=True)
class Collapse:
    """The collapse report of a curve.

    Args:
        label: of the curve.
        betas: of its points, increasing.
        threshold: of a latent's rate, in nats, above which it is alive.
        latents: a fate for each latent, in the model's order; empty where the curve has no rates of latents, or is of
            several models, each with latents of its own.
        alive: how many latents are alive at each beta; empty where the curve has no rates of latents.
        moves: the betas between which the rate goes from 95% to 5% of the way between its least and its largest; None
            where the rate does not change, or there is one point.
        entropy: of the data, in nats an example, if it is known.
        bound_gap: distance of each point from a bound, by the bound's name, in nats an example, at least 0 up to the
            noise of the evaluation: ``entropy`` is R - (H - D), ``optimum`` is D + beta R above the best possible.
    """

    label: str
    betas: tuple[float, ...]
    threshold: float
    latents: tuple[LatentFate, ...] = ()
    alive: tuple[int, ...] = ()
    moves: tuple[float, float] | None = None
    entropy: float | None = None
    bound_gap: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def summary(self) -> list[tuple[str, str]]:
        """Return the report in a few pairs of name and text."""
        pairs = []
        if self.moves is not None:
            low, high = self.moves
            pairs.append(
                ("the curve moves", f"between beta {low:.3g} and {high:.3g} (rate from 95% to 5% of its span)")
            )
        if self.alive:
            of = f" of {len(self.latents)}" if self.latents else ""
            ends = f", {self.alive[-1]} at {self.betas[-1]:.3g}" if len(self.betas) > 1 else ""
            pairs.append(("latents alive", f"{self.alive[0]}{of} at beta {self.betas[0]:.3g}{ends}"))
        if self.latents and len(self.betas) > 1:
            pairs.append(("latents' fate", self._fates()))
        for name, gaps in self.bound_gap.items():
            bound = f"H - D <= R, H {self.entropy:.6g}" if name == "entropy" else "the exact linear optimum, D + beta R"
            worst = int(np.argmax(gaps))
            least = f"{min(gaps):.2f} to " if len(gaps) > 1 else ""
            text = f"{least}{gaps[worst]:.2f} nats, most at beta {self.betas[worst]:.3g} ({bound})"
            pairs.append(("above the bound", text.replace("-0.00", "0.00")))
        return pairs

    def lines(self) -> list[str]:
        """Return :meth:`summary` as lines of text."""
        pairs = self.summary()
        return [f"{name}: {text}" for name, text in pairs] or [
            "the curve does not move, and has no latents of one model"
        ]

    def _fates(self) -> str:
        died = sorted(latent.beta for latent in self.latents if latent.beta is not None)
        counts = {kind: sum(latent.fate == kind for latent in self.latents) for kind in _STAYING}
        words = []
        if died:
            where = f"at beta {died[0]:.3g}" if len(died) == 1 else f"between beta {died[0]:.3g} and {died[-1]:.3g}"
            middle = f", half of them by {died[(len(died) - 1) // 2]:.3g}" if len(died) > 2 else ""
            words.append(f"{len(died)} {'dies' if len(died) == 1 else 'die'} {where}{middle}")
        words += [f"{count} {kind}" for kind, count in counts.items() if count]
        reopened = sum(latent.reopens > 0 for latent in self.latents)
        words += [f"{reopened} had been dead before and reopened"] if reopened else []
        return "; ".join(words)

    def to_dict(self) -> dict[str, Any]:
        """Return what :meth:`save` writes."""
        return {"schema": SCHEMA} | asdict(self)

    def save(self, path: str | Path) -> Path:
        """Write the report as JSON, schema ``multirate.collapse/1``, atomically.

        Raises:
            DataError: if the file cannot be written.
        """
        return write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> "Collapse":
        """Read a report that :meth:`save` wrote.

        Raises:
            DataError: if the file is missing, not JSON, or not such a report.
        """
        content = read_json(path, "make it with `multirate collapse`")
        again = "make it again with `multirate collapse`"
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise DataError(f"{path} is no collapse report of schema {SCHEMA}; {again}")
        try:
            report = from_plain(cls, content)
        except ValueError as error:
            raise DataError(f"{path} is no collapse report: {error}; {again}") from error
        if not report._is_sound():
            raise DataError(f"{path} is no collapse report: its parts do not go together; {again}")
        return report

    def _is_sound(self) -> bool:
        """Return whether betas increase, and everything that is said of each beta is said of all."""
        count = len(self.betas)
        return (
            count > 0
            and self.betas[0] > 0
            and all(low < high for low, high in pairwise(self.betas))
            and len(self.alive) in (0, count)
            and all(len(gaps) == count for gaps in self.bound_gap.values())
            and ("entropy" not in self.bound_gap or self.entropy is not None)
            and all((latent.fate == "dies") == (latent.beta is not None) for latent in self.latents)
        )


def collapse(
    curve: Curve, threshold: float = THRESHOLD, *, entropy: float | None = None, optimum: Curve | None = None
) -> Collapse:
    r"""Report where a curve collapses: which latents die where, where it moves, and how far it is from a bound.

    A latent is alive where its mean rate is above the threshold. Between two betas the crossing is where the rate,
    interpolated by PCHIP in log beta, equals the threshold. A latent that dies and comes back is counted as dead from
    its last crossing downward, for beyond that it stays so.

    Of data with entropy H, any model has :math:`H - D \le R`, because :math:`D + R \ge -E \log p(x) \ge H` (Alemi et
    al. 2018). The gap :math:`R - (H - D)` is what the model loses in nats; its sign is sure in expectation over the
    data, so that a finite test set may show slightly less than 0.

    Args:
        curve: whose details have ``latent_rates``, a list for each point, if latents are to be counted. Fates are those
            of one model: of a curve with one point, or with the ``beta_range`` of a multi-rate model in its details.
        threshold: of a latent's rate, in nats.
        entropy: H of the data, nats an example; for continuous data the differential one.
        optimum: the least :math:`D + \beta R` possible, at each beta of the curve, as for the linear VAE.

    Returns:
        The report.

    Raises:
        UsageError: if the threshold is not positive or the entropy not finite.
        BetaError: if the optimum does not reach over a beta of the curve.
        DataError: if the rates of latents are not a row a point.
    """
    if not (threshold > 0 and math.isfinite(threshold)):
        raise UsageError(f"threshold is a rate in nats, above 0; got {threshold}")
    if entropy is not None and not math.isfinite(entropy):
        raise UsageError(f"entropy must be a finite number of nats an example; got {entropy}")
    rates = of_latents(curve, "latent_rates")
    one_model = len(curve) == 1 or "beta_range" in curve.details
    gaps: dict[str, tuple[float, ...]] = {}
    if entropy is not None:
        gaps["entropy"] = tuple((curve.rates - (entropy - curve.distortions)).tolist())
    if optimum is not None:
        gaps["optimum"] = tuple(p["objective"] - optimum.at(p["beta"])["objective"] for p in curve.points)
    return Collapse(
        label=curve.label,
        betas=tuple(curve.betas.tolist()),
        threshold=threshold,
        latents=tuple(_fate(curve.betas, column, threshold) for column in rates.T)
        if rates is not None and one_model
        else (),
        alive=() if rates is None else tuple((rates > threshold).sum(1).tolist()),
        moves=_moves(curve),
        entropy=entropy,
        bound_gap=gaps,
    )


def of_latents(curve: Curve, name: str) -> FloatArray | None:
    """Return numbers of each latent, ``[N, Z]``, or None if the curve has none of that name.

    Args:
        curve: whose details may have them, a list for each point.
        name: for instance ``isometric_importance``.

    Raises:
        DataError: if they are not a row a point.
    """
    listed: Sequence[Sequence[float]] | None = curve.details.get(name)
    if listed is None:
        return None
    try:
        found = np.array(listed, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.zeros(0)
    if found.ndim != 2 or len(found) != len(curve) or not np.isfinite(found).all():
        raise DataError(f"{name} of curve {curve.label!r} are not a list of numbers a point; evaluate the model again")
    return found


def _fate(betas: FloatArray, rates: FloatArray, threshold: float) -> LatentFate:
    """Return the fate of one latent, of rates ``[N]``."""
    alive = rates > threshold
    turns = np.diff(alive.astype(int))
    # A first rise from a latent that was not yet alive reopens nothing.
    reopens = int((turns == 1).sum()) - int(bool((turns == 1).any()) and not alive[0])
    if not alive.any():
        return LatentFate("never alive")
    if alive[-1]:
        return LatentFate("alive throughout" if alive.all() else "alive at the end", reopens=reopens)
    return LatentFate("dies", _crossing(np.log(betas), rates, int(np.flatnonzero(alive)[-1]), threshold), reopens)


def _crossing(log_betas: FloatArray, rates: FloatArray, last: int, threshold: float) -> float:
    """Return the beta after point ``last`` where the rate falls to the threshold."""
    from scipy.optimize import brentq

    smooth = pchip(log_betas, rates)
    low, high = log_betas[last], log_betas[last + 1]
    if rates[last + 1] == threshold:
        return math.exp(high)
    return math.exp(float(brentq(lambda x: float(smooth(x)) - threshold, low, high, xtol=1e-12)))


def _moves(curve: Curve) -> tuple[float, float] | None:
    """Return the betas where the rate, made monotone, passes 95% and 5% of its span."""
    from scipy.optimize import isotonic_regression

    if len(curve) < 2:
        return None
    monotone = isotonic_regression(curve.rates, increasing=False).x
    least, span = float(monotone[-1]), float(monotone[0] - monotone[-1])
    if not span > 0:
        return None
    low, high = (curve.beta_for(rate=least + part * span) for part in MOVING)
    return low, high
