"""What a person wants to see while a model trains: the curve so far, what it reconstructs, what it draws."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from multirate.data import Source
from multirate.experiments.building import first_examples
from multirate.experiments.pictures import COLUMNS, is_image
from multirate.images import prior_samples, reconstructions
from multirate.inference import base_of, weight_of
from multirate.report.figures import image_grid
from multirate.report.progress import curves_so_far
from multirate.wrapper import MultiRate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pictures(model: nn.Module, source: Source, history: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[np.uint8]]:
    """Draw the curve so far and, of a model of images, reconstructions and prior samples, a row a beta.

    It is what ``fit(..., trackers=["tensorboard"], pictures=pictures)`` logs after each validation, and so does
    ``multirate train --validate --track tensorboard``.

    Args:
        model: plain or multi-rate.
        source: validation data, whose first examples are reconstructed.
        history: validation lines so far, the newest last.

    Returns:
        Pictures by name, ``[H, W, 3]``.

    Raises:
        DataError: if there is no line.
    """
    drawn = {"curve": curves_so_far(history)}
    base = base_of(model)
    if is_image(source.shape) and all(hasattr(base, name) for name in ("encode", "decode", "prior")):
        betas = [float(line["beta"]) for line in history if line["step"] == history[-1]["step"]]
        rows = [weight_of(model, beta) for beta in betas] if isinstance(model, MultiRate) else None
        x = first_examples(source, COLUMNS)
        drawn["reconstructions"] = image_grid(reconstructions(model, x, rows), betas, inputs=x.numpy())
        drawn["samples"] = image_grid(prior_samples(model, rows, COLUMNS), betas)
    return {name: _pixels(figure) for name, figure in drawn.items()}


def _pixels(figure: "Figure") -> NDArray[np.uint8]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), dtype=np.uint8)[..., :3].copy()
