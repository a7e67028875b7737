"""Train one variational autoencoder, get its whole rate-distortion curve (Bae et al. 2023)."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from multirate._lazy import attach

if TYPE_CHECKING:
    from multirate import data, errors, metrics, models, objectives, theory
    from multirate.beta import BetaRange
    from multirate.collapse import Collapse, collapse
    from multirate.comparison import Comparison, compare
    from multirate.convert import convert
    from multirate.curve import Curve
    from multirate.evaluate import evaluate
    from multirate.fold import fold
    from multirate.loading import load
    from multirate.merging import merge
    from multirate.plan import Plan, plan
    from multirate.response import Response
    from multirate.saving import save
    from multirate.terms import Terms
    from multirate.training.config import TrainConfig
    from multirate.training.loop import Run, fit
    from multirate.training.optimizer import parameter_groups
    from multirate.wrapper import MultiRate

    __version__: str

__all__ = [
    "BetaRange",
    "Collapse",
    "Comparison",
    "Curve",
    "MultiRate",
    "Plan",
    "Response",
    "Run",
    "Terms",
    "TrainConfig",
    "__version__",
    "collapse",
    "compare",
    "convert",
    "data",
    "errors",
    "evaluate",
    "fit",
    "fold",
    "load",
    "merge",
    "metrics",
    "models",
    "objectives",
    "parameter_groups",
    "plan",
    "save",
    "theory",
]

_WHERE = {
    "BetaRange": "beta",
    "Collapse": "collapse",
    "Comparison": "comparison",
    "Curve": "curve",
    "MultiRate": "wrapper",
    "Plan": "plan",
    "Response": "response",
    "Run": "training.loop",
    "Terms": "terms",
    "TrainConfig": "training.config",
    "collapse": "collapse",
    "compare": "comparison",
    "convert": "convert",
    "data": "data:",
    "errors": "errors:",
    "evaluate": "evaluate",
    "fit": "training.loop",
    "fold": "fold",
    "load": "loading",
    "merge": "merging",
    "metrics": "metrics:",
    "models": "models:",
    "objectives": "objectives:",
    "parameter_groups": "training.optimizer",
    "plan": "plan",
    "save": "saving",
    "theory": "theory:",
}

_load, __dir__, _ = attach(__name__, _WHERE)


def __getattr__(name: str) -> Any:
    if name != "__version__":
        return _load(name)
    from importlib import metadata

    try:
        version = metadata.version("multirate")
    except metadata.PackageNotFoundError:
        version = "unknown"
    return globals().setdefault(name, version)


class _Package(ModuleType):
    """The package, in which ``multirate.fold`` stays the function when Python imports the file of that name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and _WHERE.get(name) == name):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
