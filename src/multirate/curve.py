r"""The rate-distortion curve of a model: its points, its file, interpolation, and the choice of beta.

A :class:`Curve` holds what evaluation measured at each beta and nothing of the model, so that figures, comparisons and
reports need no torch. Rates and distortions are in nats per example.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multirate.errors import BetaError, DataError, UsageError
from multirate.files import read_json, write_atomic, write_json
from multirate.text import aligned, format_measure

Point: TypeAlias = dict[str, float]
FloatArray: TypeAlias = NDArray[np.float64]

SCHEMA = "multirate.curve/1"
UNITS = "nats/example"

# The measures that each point has, in the order of tables and files; others follow.
_REQUIRED = ("beta", "rate", "distortion", "elbo", "objective")
_HEADER: dict[str, type] = {
    "label": str,
    "model": str,
    "data": str,
    "split": str,
    "examples": int,
    "units": str,
    "seed": int,
    "samples": int,
}
# elbo and objective may be off by this much, relative to the terms they add up: room for hand-rounded files.
_CONSISTENCY = 2e-3
# Two betas this close, relatively, are one: float32(0.1) is 0.1.
SAME_BETA = 1e-6


def point(beta: float, rate: float, distortion: float, **measures: float) -> Point:
    r"""Make one point of a curve; ELBO :math:`-(D + R)` and objective :math:`D + \beta R` follow from the arguments.

    Args:
        beta: above 0.
        rate: nats per example.
        distortion: nats per example.
        measures: further measures, for instance ``active_units=12``.

    Returns:
        The point, with keys beta, rate, distortion, elbo, objective and those of ``measures``.
    """
    return {
        "beta": beta,
        "rate": rate,
        "distortion": distortion,
        "elbo": -(distortion + rate),
        "objective": distortion + beta * rate,
        **measures,
    }


@dataclass(frozen=True)
class Curve:
    """What was measured of one model, or of one family of single-beta models, at each of several betas.

    Args:
        label: name in legends and tables.
        model: name of the architecture.
        data: name of the data set.
        split: the part of it that was measured.
        examples: how many examples were measured.
        points: one dict a beta, in increasing beta, with beta, rate, distortion, elbo, objective and any further
            measures (see :func:`point`). Points of a model that is called with lambda, the weight of the distortion,
            have it as ``lambda``, and one over it as beta.
        seed: seed of the evaluation's noise.
        samples: posterior samples per example.
        units: of rate and distortion.
        details: anything else worth keeping that JSON can hold: likelihood, parameters, epochs, seconds.

    Raises:
        DataError: if the points are missing, not in increasing beta, not finite, or elbo or objective contradict
            rate and distortion.
    """

    label: str
    model: str
    data: str
    split: str
    examples: int
    points: tuple[Point, ...]
    seed: int = 0
    samples: int = 1
    units: str = UNITS
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", tuple(dict(p) for p in self.points))
        _check_points(self.points, f"curve {self.label!r}")

    def __len__(self) -> int:
        return len(self.points)

    @property
    def betas(self) -> FloatArray:
        """Betas, increasing, ``[N]``."""
        return self.values("beta")

    @property
    def rates(self) -> FloatArray:
        """Rates in nats per example, ``[N]``."""
        return self.values("rate")

    @property
    def distortions(self) -> FloatArray:
        """Distortions in nats per example, ``[N]``."""
        return self.values("distortion")

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures that every point has, beta first."""
        return tuple(name for name in self.points[0] if all(name in p for p in self.points))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to mind of the curve, as kept in ``details["warnings"]`` (:mod:`multirate.invariants`)."""
        entries = self.details.get("warnings")
        kept = [entry.get("message") for entry in (entries if isinstance(entries, list) else []) if type(entry) is dict]
        return tuple(message for message in kept if isinstance(message, str))

    def values(self, measure: str) -> FloatArray:
        """Return one measure of all points, ``[N]``.

        Args:
            measure: for instance ``"elbo"`` or ``"active_units"``.

        Raises:
            UsageError: if a point lacks it.
        """
        if measure not in self.measures:
            raise UsageError(f"curve {self.label!r} has no measure {measure!r}; it has {', '.join(self.measures)}")
        return np.array([p[measure] for p in self.points], dtype=np.float64)

    def at(self, beta: float) -> Point:
        """Return the measures at one beta: the point itself if beta is on the grid, interpolated otherwise.

        Rate, distortion and further measures are interpolated by PCHIP in log beta, which is monotone wherever the
        points are; elbo and objective follow from the interpolated rate and distortion.

        Args:
            beta: between the curve's smallest and largest beta.

        Raises:
            BetaError: if beta is outside the curve.
        """
        low, high = self.points[0]["beta"], self.points[-1]["beta"]
        for known in self.points:
            if math.isclose(beta, known["beta"], rel_tol=SAME_BETA):
                return dict(known)
        if not low < beta < high:
            raise BetaError(
                f"beta {beta:g} is outside the curve, whose betas go from {low:g} to {high:g}; choose one inside"
            )
        names = [name for name in self.measures if name not in ("beta", "elbo", "objective", "lambda")]
        read = {name: float(pchip(np.log(self.betas), self.values(name))(math.log(beta))) for name in names}
        if "lambda" in self.measures:
            read["lambda"] = 1 / beta
        return point(float(beta), read.pop("rate"), read.pop("distortion"), **read)

    def beta_for(self, *, rate: float | None = None, distortion: float | None = None) -> float:
        """Choose beta for a budget: the wanted rate, or the wanted distortion.

        In expectation rate falls and distortion grows with beta. Where noise breaks that order, the points are first
        replaced by the closest monotone ones (isotonic regression), then joined by PCHIP in log beta. If several betas
        answer, as on a plateau, the one that costs least is returned: for a rate the smallest beta (least
        distortion), for a distortion the largest (least rate).

        Args:
            rate: nats per example.
            distortion: nats per example; give this or ``rate``.

        Returns:
            Beta, within the curve's betas.

        Raises:
            UsageError: unless exactly one is given, or if it is not reachable; the message names the interval that is.
        """
        if (rate is None) == (distortion is None):
            raise UsageError("give either rate=... or distortion=..., in nats per example")
        if rate is not None:
            return self._invert("rate", self.rates, rate)
        assert distortion is not None
        return self._invert("distortion", self.distortions, distortion)

    def _invert(self, name: Literal["rate", "distortion"], values: FloatArray, target: float) -> float:
        from scipy.optimize import brentq, isotonic_regression

        if len(self) < 2:
            raise UsageError(f"curve {self.label!r} has one point; choosing beta needs at least 2: evaluate more betas")
        falling = name == "rate"
        monotone = np.asarray(isotonic_regression(values, increasing=not falling).x, dtype=np.float64)
        low, high = float(monotone.min()), float(monotone.max())
        slack = 1e-9 * max(1.0, abs(low), abs(high))
        if not low - slack <= target <= high + slack:
            raise UsageError(
                f"{name} {target:g} is not reachable: curve {self.label!r} goes from {low:.6g} to {high:.6g} "
                f"{self.units}; choose a value between, or train with a wider range of beta"
            )
        log_betas, target = np.log(self.betas), min(max(target, low), high)
        if falling:
            first = int(np.argmax(monotone <= target))
            left, right = max(first - 1, 0), first
        else:
            last = len(self) - 1 - int(np.argmax(monotone[::-1] <= target))
            left, right = last, min(last + 1, len(self) - 1)
        exact = right if falling else left
        if monotone[exact] == target:
            return float(self.betas[exact])
        smooth = pchip(log_betas, monotone)
        ends = [float(smooth(log_betas[side])) - target for side in (left, right)]
        if ends[0] * ends[1] >= 0:
            # Within rounding of a point, where the interpolant need not change sign.
            return float(self.betas[left if abs(ends[0]) < abs(ends[1]) else right])
        root = brentq(lambda log_beta: float(smooth(log_beta)) - target, log_betas[left], log_betas[right], xtol=1e-14)
        return math.exp(float(root))

    def best(self, measure: str = "elbo", *, lowest: bool = False) -> float:
        """Return the beta of the point where a measure is highest; by default the best ELBO.

        Args:
            measure: any measure of the curve.
            lowest: look for the lowest value instead.

        Raises:
            UsageError: if a point lacks the measure.
        """
        values = self.values(measure)
        return float(self.betas[values.argmin() if lowest else values.argmax()])

    def table(self) -> list[list[str]]:
        """Return the curve as rows of text, the header first, for tables on screen and in reports."""
        names = _columns(self.points)
        return [names, *([format_measure(name, p[name]) if name in p else "" for name in names] for p in self.points)]

    def __str__(self) -> str:
        """Return a line about the curve, its table, and its warnings."""
        head = f"{self.label} on {self.data} {self.split}, {self.examples:,} examples, {self.units}"
        return "\n".join([head, aligned(self.table()), *(f"warning: {message}" for message in self.warnings)])

    def to_dict(self) -> dict[str, Any]:
        """Return what :meth:`save` writes."""
        header: dict[str, Any] = {"schema": SCHEMA} | {name: getattr(self, name) for name in _HEADER}
        if self.details:
            header["details"] = self.details
        return header | {"points": [dict(p) for p in self.points]}

    def save(self, path: str | Path) -> Path:
        """Write the curve as JSON, schema ``multirate.curve/1``, atomically.

        Raises:
            DataError: if the file cannot be written.
        """
        return write_json(path, self.to_dict())

    def save_csv(self, path: str | Path) -> Path:
        """Write the points as CSV in full precision, a row a beta; a measure that a point lacks is an empty cell.

        Raises:
            DataError: if the file cannot be written.
        """
        text = io.StringIO()
        writer = csv.DictWriter(text, _columns(self.points), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.points)
        return write_atomic(path, text.getvalue())

    @classmethod
    def from_dict(cls, content: Any, source: str = "curve") -> "Curve":
        """Make a curve of what :meth:`to_dict` gives, checking everything.

        Args:
            content: decoded JSON.
            source: what to call it in errors.

        Raises:
            DataError: if the schema is another one, a key is missing, unknown or of the wrong type, or the points are
                not right.
        """
        if not isinstance(content, Mapping):
            raise DataError(f"{source} is not a curve: expected an object with schema {SCHEMA!r}")
        if content.get("schema") != SCHEMA:
            raise DataError(f"{source} has schema {content.get('schema')!r}; this multirate reads {SCHEMA!r}")
        unknown = set(content) - {"schema", "points", "details", *_HEADER}
        if unknown:
            raise DataError(f"{source} has unknown keys {sorted(unknown)}; put further information under 'details'")
        for name, kind in _HEADER.items():
            if name not in content:
                raise DataError(f"{source} lacks {name!r}; write it with `multirate evaluate`")
            if not isinstance(content[name], kind) or isinstance(content[name], bool):
                raise DataError(f"{source} has {name}={content[name]!r}; expected {kind.__name__}")
        for name in ("examples", "samples"):
            if content[name] < 1:
                raise DataError(f"{source} has {name}={content[name]}; expected 1 or more")
        details, points = content.get("details", {}), content.get("points")
        if not isinstance(points, list) or not all(isinstance(p, dict) for p in [*points, details]):
            raise DataError(f"{source}: 'points' must be a list of objects and 'details' an object")
        _check_points(points, source)
        header = {name: content[name] for name in _HEADER}
        return cls(**header, points=tuple(points), details=details)

    @classmethod
    def load(cls, path: str | Path) -> "Curve":
        """Read a curve that :meth:`save` wrote.

        Raises:
            DataError: if the file is missing, not JSON, or not a valid curve.
        """
        return cls.from_dict(read_json(path, "make it with `multirate evaluate`"), str(path))


def pchip(x: FloatArray, y: FloatArray) -> Any:
    """Return the monotone piecewise cubic interpolant through points in increasing ``x`` (Fritsch and Butland 1984)."""
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(x, y)


def _columns(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys([*_REQUIRED, *(name for p in points for name in p)]))


def _check_points(points: Sequence[Mapping[str, Any]], source: str) -> None:
    if not points:
        raise DataError(f"{source} has no points")
    previous = 0.0
    for p in points:
        where = f"{source}, point at beta {p.get('beta')!r}"
        for name in _REQUIRED:
            if name not in p:
                raise DataError(f"{where}: {name!r} is missing")
        for name, value in p.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise DataError(f"{where}: {name} must be a finite number; got {value!r}")
        if p["beta"] <= previous:
            raise DataError(f"{where}: betas must be positive and increasing; {p['beta']:g} follows {previous:g}")
        previous = p["beta"]
        _check_sums(p, where)
        if "lambda" in p and abs(p["lambda"] * p["beta"] - 1) > _CONSISTENCY:
            raise DataError(f"{where}: lambda is {p['lambda']:g} but 1 / beta is {1 / p['beta']:g}; leave it out")


def _check_sums(p: Mapping[str, float], where: str) -> None:
    truth = point(p["beta"], p["rate"], p["distortion"])
    scale = abs(p["distortion"]) + abs(p["rate"])
    for name, terms, room in (
        ("elbo", "-(distortion + rate)", scale),
        ("objective", "distortion + beta rate", scale + p["beta"] * abs(p["rate"])),
    ):
        if abs(p[name] - truth[name]) > _CONSISTENCY * room + 1e-9:
            raise DataError(f"{where}: {name} is {p[name]:g} but {terms} is {truth[name]:g}; evaluate the model again")
