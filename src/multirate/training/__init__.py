"""Training of beta-VAEs and multi-rate VAEs by one loop."""

from typing import TYPE_CHECKING

from multirate._lazy import attach

if TYPE_CHECKING:
    from multirate.training.config import TrainConfig
    from multirate.training.loop import Run, fit

__all__ = ["Run", "TrainConfig", "fit"]

__getattr__, __dir__, _ = attach(__name__, {"Run": "loop", "TrainConfig": "config", "fit": "loop"})
