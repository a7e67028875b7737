"""Whether two curves can be compared, and whether it is fair: what their measurements and trainings have in common."""

from typing import Any

from multirate.curve import Curve
from multirate.text import listed

# What two curves must have in common to be compared at all.
MEASURED = ("data", "split", "units", "examples")
# Details of two curves that a fair comparison has equal, the number of parameters apart.
_SETTINGS = (
    "epochs",
    "batch_size",
    "training_batch_size",
    "latents",
    "learning_rate",
    "kl_schedule",
    "training_examples",
    "training_seed",
)
# Further ones, with the value of a curve that does not mention them: a record has them only where they are special.
_USUAL = {"objective": "beta-vae", "optimizer": "adam", "recalibrated": False, "start": "new weights"}


def incompatible(curve: Curve, baseline: Curve) -> list[str]:
    """Return what forbids a comparison of two curves: those of data, split, units, examples, likelihood that differ."""
    names = [name for name in MEASURED if getattr(curve, name) != getattr(baseline, name)]
    return names + ["likelihood"] * _differ(known_values(curve, "likelihood"), known_values(baseline, "likelihood"))


def differences(curve: Curve, baseline: Curve) -> list[str]:
    """Return a sentence for each setting of two curves that a fair comparison has equal and that is not."""
    notes = []
    ours, theirs = known_values(curve, "parameters"), known_values(baseline, "parameters")
    if _differ(ours, theirs):
        counts = [listed([f"{n:,}" if isinstance(n, int) else str(n) for n in values]) for values in (ours, theirs)]
        notes.append(f"different architecture: {counts[0]} and {counts[1]} parameters")
    settings = [(name, [getattr(curve, name)], [getattr(baseline, name)]) for name in ("model", "seed", "samples")]
    settings += [(name, known_values(curve, name), known_values(baseline, name)) for name in _SETTINGS]
    settings += [
        (name, known_values(curve, name) or [usual], known_values(baseline, name) or [usual])
        for name, usual in _USUAL.items()
    ]
    return notes + [
        f"{name} differs: {listed(ours)} for {curve.label}, {listed(theirs)} for {baseline.label}"
        for name, ours, theirs in settings
        if _differ(ours, theirs)
    ]


def known_values(curve: Curve, key: str) -> list[Any]:
    """Return the known values of a detail, each once: a merged curve may have a list, one entry a member."""
    value = curve.details.get(key)
    values = value if isinstance(value, list) else [value]
    return [v for i, v in enumerate(values) if v is not None and v not in values[:i]]


def _differ(ours: list[Any], theirs: list[Any]) -> bool:
    return bool(ours and theirs) and not (all(v in theirs for v in ours) and all(v in ours for v in theirs))
