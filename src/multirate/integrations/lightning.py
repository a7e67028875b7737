"""Lightning: a callback that measures and logs the curve of the multi-rate model inside a ``LightningModule``.

``lightning`` and ``pytorch_lightning`` are two copies of one library; either will do.
"""

import importlib.util
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from multirate.curve import Curve
from multirate.errors import UsageError
from multirate.evaluate import evaluate
from multirate.integrations.extras import require
from multirate.report.figures import rate_distortion
from multirate.report.style import save
from multirate.wrapper import MultiRate

__all__ = ["CurveCallback", "find_multirate"]

EXTRA = "lightning"
_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def _callback_class() -> type:
    """Return the ``Callback`` of the copies that are imported already, else of one that is installed."""
    loaded = [name for name in _PACKAGES if name in sys.modules]
    installed = [name for name in _PACKAGES if importlib.util.find_spec(name.partition(".")[0]) is not None]
    names = loaded or installed[:1] or _PACKAGES[:1]
    classes = tuple(require(name, extra=EXTRA).Callback for name in names)
    return classes[0] if len(classes) == 1 else type("Callback", classes, {})


if TYPE_CHECKING:
    _Callback = object
else:
    _Callback = _callback_class()


class CurveCallback(_Callback):
    """Measures the curve after an epoch of training: scalars and a figure for the loggers, and ``curve.json``.

    The multi-rate model is found inside the ``LightningModule``, and measured by :func:`multirate.evaluate` in the
    first process alone; the others wait. Training goes on as if nothing had been measured: modes and random generators
    are as they were. Logged, so that ``ModelCheckpoint(monitor="curve/objective")`` may use them, are

    - ``curve/rate``, ``curve/distortion`` and ``curve/objective``: means over the betas, nats an example;
    - ``curve/beta_0.1/rate``, ``curve/beta_0.1/distortion`` and any further measure, at each beta.

    The newest curve is written to ``curve.json`` and ``curve.png`` in the folder of the first logger, or the trainer's
    root folder without any, and drawn for the loggers that take figures (TensorBoard, W&B). Lightning's checkpoints
    keep all curves: ``curves`` has them by the number of epochs done.

    Args:
        data: to measure, as in :func:`multirate.evaluate`.
        betas: how many, log-spaced over the model's range, or which ones.
        every_n_epochs: measure after so many epochs, and after the last of ``max_epochs``.
        examples: measure only so many, the first ones.
        samples: posterior samples an example.
        batch_size: examples at a time.
        seed: of the noise, the same after every epoch.
        measures: beside rate and distortion, as in :func:`multirate.evaluate`.
        figure: draw the curve.
        name: of the scalars and files; several callbacks of one trainer need different ones.
        model: path of the multi-rate model in the ``LightningModule``, such as ``"vae"``, if it holds several.

    Raises:
        UsageError: if ``every_n_epochs`` is below 1 or ``name`` is no name of a file; when it measures, if there is not
            one multi-rate model.
    """

    def __init__(
        self,
        data: Any,
        betas: int | Sequence[float] | Tensor = 8,
        *,
        every_n_epochs: int = 1,
        examples: int | None = None,
        samples: int = 1,
        batch_size: int = 500,
        seed: int = 0,
        measures: Sequence[str] = (),
        figure: bool = True,
        name: str = "curve",
        model: str | None = None,
    ) -> None:
        super().__init__()
        if every_n_epochs < 1:
            raise UsageError(f"every_n_epochs must be at least 1; got {every_n_epochs}")
        if not name or Path(name).name != name:
            raise UsageError(f"name must be that of a file, without its folder; got {name!r}")
        self.data = data
        self.betas = betas
        self.every_n_epochs = every_n_epochs
        self.name = name
        self.model = model
        self.curves: dict[int, Curve] = {}
        self._figure = figure
        self._options: dict[str, Any] = {
            "examples": examples,
            "samples": samples,
            "batch_size": batch_size,
            "seed": seed,
            "measures": tuple(measures),
        }

    @property
    def curve(self) -> Curve | None:
        """The newest curve, or None."""
        return self.curves[max(self.curves)] if self.curves else None

    @property
    def state_key(self) -> str:
        """What Lightning's checkpoints keep the curves under."""
        return f"{type(self).__qualname__}[{self.name}]"

    def state_dict(self) -> dict[str, Any]:
        """Return the curves so far, plain values alone."""
        return {"curves": {str(epoch): curve.to_dict() for epoch, curve in self.curves.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the curves of a checkpoint."""
        self.curves = {int(epoch): Curve.from_dict(content) for epoch, content in state_dict["curves"].items()}

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure, if an epoch is due."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs and epoch != trainer.max_epochs:
            return
        measured: dict[str, Any] | None = None
        if trainer.is_global_zero:
            model = find_multirate(pl_module, self.model)
            measured = evaluate(model, self.data, self.betas, progress=False, **self._options).to_dict()
        curve = Curve.from_dict(trainer.strategy.broadcast(measured))
        self.curves[epoch] = curve
        # Equal in all processes: averaging changes nothing, and each can monitor them.
        pl_module.log_dict(self._scalars(curve), on_step=False, on_epoch=True, sync_dist=True)
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # asked for in every process, or they wait
        if trainer.is_global_zero:
            self._write(trainer, folder, curve)

    def _scalars(self, curve: Curve) -> dict[str, float]:
        means = {
            f"{self.name}/{name}": float(curve.values(name).mean()) for name in ("rate", "distortion", "objective")
        }
        at_betas = {
            f"{self.name}/beta_{point['beta']:.6g}/{name}": float(value)
            for point in curve.points
            for name, value in point.items()
            if name not in ("beta", "lambda", "elbo", "objective")
        }
        return means | at_betas

    def _write(self, trainer: Any, folder: Path, curve: Curve) -> None:
        curve.save(folder / f"{self.name}.json")
        if not self._figure:
            return
        figure = rate_distortion(curve, title=f"{curve.data} {curve.split}, epoch {max(self.curves)}")
        save(figure, folder / f"{self.name}.png")
        for logger in trainer.loggers:
            if callable(getattr(logger, "log_image", None)):
                logger.log_image(self.name, [_picture(folder / f"{self.name}.png")], step=trainer.global_step)
            elif callable(getattr(logger.experiment, "add_figure", None)):
                logger.experiment.add_figure(self.name, figure, trainer.global_step)


def find_multirate(module: nn.Module, path: str | None = None) -> MultiRate:
    """Return the multi-rate model inside a module.

    Args:
        module: such as a ``LightningModule``.
        path: of the model in it; None if there is one alone.

    Raises:
        UsageError: if there is none, or several without a path.
    """
    found = {name: part for name, part in module.named_modules() if isinstance(part, MultiRate)}
    if path is not None:
        if path not in found:
            raise UsageError(f"{type(module).__name__} has no multi-rate model {path!r}; it has {_listed(found)}")
        return found[path]
    if len(found) != 1:
        remedy = "name one with model=..." if found else "make one with multirate.convert in its __init__"
        raise UsageError(f"{type(module).__name__} holds {len(found)} multi-rate models, {_listed(found)}; {remedy}")
    return next(iter(found.values()))


def _listed(found: dict[str, MultiRate]) -> str:
    return ", ".join(map(repr, found)) or "none"


def _picture(path: Path) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(path.read_bytes()))
