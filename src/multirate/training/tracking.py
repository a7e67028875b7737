"""A run's numbers and pictures in TensorBoard, Weights & Biases or trackio, through accelerate's trackers."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import nn

from multirate.data.source import Source
from multirate.errors import UsageError
from multirate.training.names import TRACKERS

if TYPE_CHECKING:
    from accelerate import Accelerator

# Model, validation data and the validation's lines so far, to pictures by name, uint8 [H, W, 3].
Pictures: TypeAlias = Callable[[nn.Module, Source, Sequence[Mapping[str, Any]]], Mapping[str, NDArray[np.uint8]]]
PROJECT = "multirate"
FOLDER = "tracking"


def check_trackers(trackers: Sequence[str], folder: Path | None) -> None:
    """Raise unless every tracker can be used.

    Args:
        trackers: of :data:`multirate.training.names.TRACKERS`.
        folder: of the run, which TensorBoard writes in.

    Raises:
        UsageError: naming the tracker that is unknown, not installed, or without a folder.
    """
    for tracker in trackers:
        if tracker not in TRACKERS:
            raise UsageError(f"no tracker {tracker!r}; choose of {', '.join(TRACKERS)}")
        if importlib.util.find_spec(tracker) is None:
            raise UsageError(
                f"tracker {tracker} is not installed; get it with: pip install 'multirate[{tracker}]', or leave it out"
            )
        if tracker == "tensorboard" and folder is None:
            raise UsageError("tracker tensorboard writes in the run's folder: give out=... (--out)")


class Tracking:
    """Sends lines of metrics and pictures to the trackers of one run; a tracker that fails is left out from then on.

    Args:
        accelerator: made with these trackers (:func:`multirate.training.devices.accelerator_for`).
        trackers: their names; none makes every method do nothing.
        folder: of the run, or None.
        pictures: makes what is sent after each validation beside its numbers.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        trackers: Sequence[str],
        folder: Path | None,
        pictures: Pictures | None = None,
    ) -> None:
        self._accelerator = accelerator
        self._names = tuple(trackers)
        self._folder = folder
        self._pictures = pictures
        self._live: list[Any] = []

    def start(self, document: Mapping[str, Any]) -> None:
        """Open the trackers and tell them what the run is.

        Args:
            document: of ``config.yaml``.
        """
        if not self._names or not self._accelerator.is_main_process:
            return
        name = None if self._folder is None else self._folder.name
        place = None if self._folder is None else str(self._folder / FOLDER)
        options = {"wandb": {"name": name, "dir": place}, "trackio": {"name": name}}
        try:
            if place is not None:
                Path(place).mkdir(parents=True, exist_ok=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a tracker's own, which the caller can do nothing about
                self._accelerator.init_trackers(PROJECT, _flat(document), options)
        except Exception as error:  # such as an account that is not logged in
            opened = ", ".join(self._names)
            warnings.warn(f"{opened} could not be opened, and the run goes on without: {_reason(error)}", stacklevel=3)
            return
        self._live = list(self._accelerator.trackers)

    def line(self, line: Mapping[str, Any]) -> None:
        """Send one line of training metrics."""
        values = {f"train/{key}": line[key] for key in ("loss", "rate", "distortion")}
        self._each(lambda tracker: tracker.log({**values, "epoch": line["epoch"]}, step=line["step"]))

    def validation(self, model: nn.Module, source: Source, history: Sequence[Mapping[str, Any]]) -> None:
        """Send the newest validation: a number each for rate, distortion and objective at each beta, and pictures.

        Args:
            model: of the run.
            source: validation data.
            history: lines of all validations so far, the newest last.
        """
        if not self._live or not history:
            return
        step = history[-1]["step"]
        newest = [line for line in history if line["step"] == step]
        values = {
            f"validation/{key}/beta={line['beta']:.3g}": line[key]
            for line in newest
            for key in ("rate", "distortion", "objective")
        }
        self._each(lambda tracker: tracker.log(values, step=step))
        made = self._draw(model, source, history)
        self._each(lambda tracker: _send_pictures(tracker, made, step))

    def _draw(
        self, model: nn.Module, source: Source, history: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, NDArray[np.uint8]]:
        if self._pictures is None:
            return {}
        try:
            return self._pictures(model, source, history)
        except Exception as error:
            self._pictures = None
            warnings.warn(f"pictures failed and are left out from here on: {_reason(error)}", stacklevel=4)
            return {}

    def finish(self) -> None:
        """Close the trackers."""
        self._each(lambda tracker: tracker.finish())
        self._live = []

    def _each(self, call: Callable[[Any], None]) -> None:
        for tracker in list(self._live):
            try:
                call(tracker)
            except Exception as error:  # whatever a service does, the run goes on
                self._live.remove(tracker)
                warnings.warn(
                    f"tracker {tracker.name} failed and is left out from here on: {_reason(error)}", stacklevel=3
                )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _send_pictures(tracker: Any, pictures: Mapping[str, NDArray[np.uint8]], step: int) -> None:
    if tracker.name == "tensorboard":
        batches = {name: picture[None] for name, picture in pictures.items()}
        tracker.log_images(batches, step=step, dataformats="NHWC")
    elif tracker.name == "wandb":
        tracker.log_images({name: [picture] for name, picture in pictures.items()}, step=step)
    else:
        trackio = importlib.import_module("trackio")
        tracker.log({name: trackio.Image(picture) for name, picture in pictures.items()}, step=step)


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, str | float | int | bool]:
    """Return nested settings as ``section.name``, values as trackers take them."""
    flat: dict[str, str | float | int | bool] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str | float | int | bool) else str(value)
    return flat
