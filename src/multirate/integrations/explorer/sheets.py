"""What is made beforehand at some betas: a sheet of pictures, which is there at once, or sentences."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from multirate.data import Source
from multirate.experiments.sentences import Writer, interpolate, reconstruct, sample
from multirate.files import write_atomic
from multirate.images import prior_samples, reconstructions
from multirate.inference import at, base_of, inference, like_parameters
from multirate.integrations.explorer.live import BETWEEN

# Betas at which a sheet or sentences are made.
SHEET_BETAS = 24


def write_sheet(
    model: nn.Module, x: Tensor, betas: Sequence[float], value_range: tuple[float, float], path: Path
) -> None:
    """Write one picture: a row a beta, in it the reconstructions of x, as many prior draws, and the way between two.

    Args:
        model: multi-rate, with ``encode``, ``decode`` and ``prior``.
        x: images, ``[n, C, H, W]``.
        betas: of the rows.
        value_range: what is black and what is white.
        path: of the PNG file.

    Raises:
        MultirateError: as :func:`multirate.images.reconstructions`.
    """
    from PIL import Image

    made = reconstructions(model, x, betas), prior_samples(model, betas, len(x)), _way(model, x[:2], betas)
    low, high = value_range
    rows = (np.concatenate(made, axis=1) - low) / (high - low)
    rows = rows.reshape(*rows.shape[:2], -1, *x.shape[-2:])  # an image may lack its axis of channels
    # [betas, columns, C, H, W] to [betas, H, columns, W, C]
    table = (255 * rows.clip(0, 1)).round().astype(np.uint8).transpose(0, 3, 1, 4, 2)
    table = table.reshape(table.shape[0] * table.shape[1], -1, table.shape[-1])
    buffer = io.BytesIO()
    Image.fromarray(table[..., 0] if table.shape[-1] == 1 else table).save(buffer, "PNG", optimize=True)
    write_atomic(path, buffer.getvalue())


def _way(model: nn.Module, ends: Tensor, betas: Sequence[float]) -> NDArray[Any]:
    """Return the pictures along the line between two posterior means, ends included, ``[betas, BETWEEN + 2, ...]``."""
    base: Any = base_of(model)
    shares = torch.linspace(0, 1, BETWEEN + 2)[:, None]
    rows = []
    with inference(model):
        for beta in betas:
            with at(model, beta):
                first, last = base.encode(like_parameters(ends, model)).mean
                z = torch.lerp(first[None], last[None], shares.to(first))
                rows.append(base.decode(z).mean.float().cpu().numpy())
    return np.stack(rows)


def sentences(
    writer_at: Callable[[float], Writer], source: Source, betas: Sequence[float], count: int
) -> dict[str, Any]:
    """Write the first sentences again at each beta, as many draws from the prior, and the way between the first two.

    Args:
        writer_at: returns the model's writer at a beta.
        source: text with the vocabulary of the run.
        betas: at which to write.
        count: of sentences, at least 2.

    Returns:
        The page's entry; ``rates`` are of the sentences, in nats.

    Raises:
        MultirateError: as :func:`multirate.experiments.sentences.reconstruct`.
    """
    made: dict[str, Any] = {"betas": list(betas), "reconstructions": [], "rates": [], "samples": [], "way": []}
    for beta in betas:
        writer = writer_at(beta)
        again = reconstruct(writer, source, count)
        made["inputs"] = [each.sentence for each in again]
        made["reconstructions"].append([each.written.text for each in again])
        made["rates"].append([round(each.rate, 3) for each in again])
        made["samples"].append([each.text for each in sample(writer, count)])
        first, second = [text for text in made["inputs"] if text][:2]
        way = interpolate(writer, first, second, BETWEEN + 2)
        made["way"].append([written.text for _, written in way.steps])
    return made
