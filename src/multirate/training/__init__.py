"""Training of beta-VAEs and multi-rate VAEs by one loop."""

from typing import TYPE_CHECKING

from multirate._lazy import attach

if TYPE_CHECKING:
    from multirate.training.config import TrainConfig
    from multirate.training.loop import Run, fit
    from multirate.training.optimizer import parameter_groups

__all__ = ["Run", "TrainConfig", "fit", "parameter_groups"]

__getattr__, __dir__, _ = attach(
    __name__, {"Run": "loop", "TrainConfig": "config", "fit": "loop", "parameter_groups": "optimizer"}
)
