"""Rate and distortion on validation data during a run."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from multirate.data.source import Source
from multirate.errors import DivergenceError
from multirate.seeding import seeded
from multirate.training.finite import about_batch, first_row_not_finite
from multirate.wrapper import evaluating, terms_at


def measure(
    model: nn.Module,
    data: Source,
    weights: Sequence[float],
    *,
    seed: int,
    batch_size: int,
    to_device: Callable[[Tensor], Tensor],
) -> list[tuple[float, float]]:
    """Return rate and distortion at each weight, nats an example, with the same noise at each and in each epoch.

    Args:
        model: plain or multi-rate; left as it was.
        data: to measure on.
        weights: what the model is called with; without a meaning for a plain one.
        seed: of the noise.
        batch_size: examples at a time.
        to_device: moves a batch to the model.

    Raises:
        DivergenceError: if one of them is not finite; the message names the weight and the batch.
    """
    first_places = range(0, len(data), batch_size)
    sums = torch.zeros(len(weights), 2, dtype=torch.float64)
    parts = []
    with evaluating(model), torch.no_grad():
        for index, first in enumerate(first_places):
            x = to_device(data.batch(torch.arange(first, min(first + batch_size, len(data)))))
            rows = []
            for weight in weights:
                with seeded(seed, "validation", index):
                    terms = terms_at(model, x, weight)
                rows.append(torch.stack([terms.rate.sum(), terms.distortion.sum()]))
            parts.append(torch.stack(rows))
    for part in torch.stack(parts).cpu():
        sums += part
    row = first_row_not_finite(sums)
    if row is not None:
        index = first_row_not_finite(torch.stack(parts)[:, row]) or 0
        places = range(first_places[index], min(first_places[index] + batch_size, len(data)))
        about, remedy = about_batch(data.batch(torch.tensor(places)), places)
        rate, distortion = parts[index][row].tolist()
        raise DivergenceError(
            f"rate {rate / len(places):g} and distortion {distortion / len(places):g} of {data.name}'s "
            f"{data.split} data at {weights[row]:g}, {about}: {remedy}"
        )
    return [(rate, distortion) for rate, distortion in (sums / len(data)).tolist()]
