"""The discretised logistic mixture at its ends: values beyond the levels, extreme draws, types and shapes."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from multirate.errors import UsageError
from multirate.logistic import COMPONENTS, LEVELS, DiscretizedLogisticMixture, discretized_logistic, logistic_channels
from multirate.seeding import generator

# Batch, channels, components, height and width all differ.
SHAPE = (2, 3, 5, 4, 6)


def raw_of(dtype: torch.dtype = torch.float64) -> Tensor:
    batch, channels, components, height, width = SHAPE
    shape = (batch, logistic_channels(channels, components), height, width)
    return 2 * torch.randn(shape, generator=generator(0, "raw"), dtype=dtype)


def levels_of(y: float) -> float:
    return min(max(round((y + 1) / 2 * 255), 0), 255) / 255


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_types_are_those_of_the_images(dtype: torch.dtype) -> None:
    likelihood = discretized_logistic(raw_of(dtype), 3)

    assert (likelihood.batch_shape, likelihood.event_shape) == ((2,), (3, 4, 6))
    assert likelihood.mean.shape == (2, 3, 4, 6)
    assert likelihood.sample().shape == (2, 3, 4, 6)
    assert likelihood.sample((7,)).shape == (7, 2, 3, 4, 6)
    image = torch.rand(2, 3, 4, 6, dtype=torch.float64)
    assert likelihood.log_prob(image).shape == (2,)
    assert likelihood.log_prob(image.expand(7, 2, 3, 4, 6)).shape == (7, 2)
    assert {likelihood.log_prob(image).dtype, likelihood.mean.dtype, likelihood.sample().dtype} == {dtype}


def test_the_number_of_parameters_is_that_of_ten_components_unless_said_otherwise() -> None:
    assert (COMPONENTS, LEVELS) == (10, 256)
    assert [logistic_channels(channels, 4) for channels in (1, 2, 3, 4)] == [12, 24, 40, 60]
    assert discretized_logistic(torch.zeros(1, 6, 1, 1), 1).log_weights.shape == (1, 2, 1, 1)
    with pytest.raises(UsageError, match=r"P a multiple of 3; got \[1, 7, 1, 1\]"):
        discretized_logistic(torch.zeros(1, 7, 1, 1), 1)


def test_nothing_is_validated_where_training_is_fast() -> None:
    likelihood = discretized_logistic(raw_of() * math.nan, 3)

    assert likelihood._validate_args is False
    assert likelihood.log_prob(torch.full((2, 3, 4, 6), 7.0)).isnan().all()


def test_a_value_counts_as_the_nearest_level_that_there_is() -> None:
    likelihood = discretized_logistic(raw_of(), 3)

    def at(value: float) -> Tensor:
        return likelihood.log_prob(torch.full((2, 3, 4, 6), value, dtype=torch.float64))

    torch.testing.assert_close(at(-3.0), at(0.0), rtol=0, atol=0)
    torch.testing.assert_close(at(1.3), at(1.0), rtol=0, atol=0)
    torch.testing.assert_close(at(100.4 / 255), at(100 / 255), rtol=0, atol=0)
    assert not torch.equal(at(100.6 / 255), at(100 / 255))
    assert not torch.equal(at(254 / 255), at(1.0))


def test_the_mean_of_a_component_is_that_of_a_logistic_cut_at_both_ends_along_the_chain() -> None:
    raw = raw_of()
    likelihood = discretized_logistic(raw, 3)
    actual = likelihood.mean

    weights = raw[:, :5].softmax(1)
    coefficients = raw[:, 35:].tanh().reshape(2, 3, 5, 4, 6)
    scales = (torch.nn.functional.softplus(raw[:, 20:35] + 7) - 7).exp().reshape(2, 3, 5, 4, 6)
    locations = raw[:, 5:20].reshape(2, 3, 5, 4, 6)
    grid = torch.linspace(-1, 1, 20_001, dtype=torch.float64)
    means: list[Tensor] = []
    for channel, pairs in enumerate([(), (0,), (1, 2)]):
        location = locations[:, channel] + sum(coefficients[:, pair] * means[i] for i, pair in enumerate(pairs))
        # E[min(max(y, -1), 1)] is the integral of the survival function from -1 to 1, less 1.
        survival = torch.sigmoid((location[..., None] - grid) / scales[:, channel, ..., None])
        means.append(torch.trapezoid(survival, grid, dim=-1) - 1)
    expected = torch.stack([(weights * mean).sum(1) for mean in means], 1) / 2 + 0.5
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_rounding_takes_no_mean_out_of_the_range_of_data(sign: int) -> None:
    places = torch.linspace(1.0, 2e5, 4001)
    raw = torch.stack([torch.zeros_like(places), sign * places, torch.full_like(places, -7.0)])

    mean = discretized_logistic(raw[None, :, None], 1).mean

    assert mean.min() >= 0
    assert mean.max() <= 1
    torch.testing.assert_close(mean[..., -1].squeeze(), torch.tensor(float(sign > 0)), rtol=0, atol=2e-3)


def test_rounding_of_weights_takes_no_mean_below_the_least_level() -> None:
    raw = torch.randn(4000, 3, 7, generator=generator(1, "weights"))
    raw[:, 1], raw[:, 2] = -1e3, -7.0

    mean = discretized_logistic(raw.flatten(1)[..., None, None], 1).mean

    assert mean.min() == 0
    assert discretized_logistic(-raw.flatten(1)[..., None, None].abs(), 1).mean.min() >= 0


def drawn(raw: np.ndarray, noise: np.ndarray, uniform: np.ndarray) -> list[float]:
    """A pixel of three channels: the component of the greatest Gumbel sum, then inverse distribution functions."""
    blocks = raw.reshape(10, 5)
    k = int(np.argmax(blocks[0] - np.log(np.exp(blocks[0]).sum()) - np.log(-np.log(noise))))
    y: list[float] = []
    for channel, pairs in enumerate([(), (0,), (1, 2)]):
        location = blocks[1 + channel][k] + sum(math.tanh(blocks[7 + p][k]) * y[i] for i, p in enumerate(pairs))
        scale = math.exp(-7 + math.log1p(math.exp(7 + blocks[4 + channel][k])))
        value = location + scale * math.log(uniform[channel] / (1 - uniform[channel]))
        y.append(2 * levels_of(value) - 1)
    return [(value + 1) / 2 for value in y]


def test_a_sample_is_a_component_and_then_one_level_after_the_other() -> None:
    raw = raw_of()
    raw[:, 20:35] -= 3
    source = generator(4)
    noise = torch.rand(2, 5, 4, 6, generator=source, dtype=torch.float64)
    uniform = torch.stack([torch.rand(2, 1, 4, 6, generator=source, dtype=torch.float64)[:, 0] for _ in range(3)], 1)

    actual = discretized_logistic(raw, 3).sample(generator=generator(4))

    for place in np.ndindex(2, 4, 6):
        row, i, j = place
        expected = drawn(raw[row, :, i, j].numpy(), noise[row, :, i, j].numpy(), uniform[row, :, i, j].numpy())
        assert actual[row, :, i, j].tolist() == pytest.approx(expected, abs=1e-12)
    assert actual.std() > 0 and 0 < (actual == 0).sum() < actual.numel() / 2  # ends and what is between


def test_components_are_drawn_with_their_weights() -> None:
    weights = torch.tensor([0.5, 0.3, 0.15, 0.05])
    raw = torch.stack([weights.log(), torch.tensor([-0.9, -0.3, 0.3, 0.9]), torch.full((4,), -40.0)]).reshape(
        1, -1, 1, 1
    )

    values = discretized_logistic(raw, 1).sample((20_000,), generator=generator(5)).flatten()

    shares = torch.stack([((values - place).abs() < 0.1).float().mean() for place in (0.05, 0.35, 0.65, 0.95)])
    torch.testing.assert_close(shares, weights, rtol=0, atol=0.015)  # four standard deviations


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("end", ["least", "most"])
def test_the_extreme_draws_are_finite_and_of_the_heaviest_component(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, end: str
) -> None:
    eps = torch.finfo(dtype).eps
    value = 0.0 if end == "least" else 1 - eps / 2
    monkeypatch.setattr(torch, "rand", lambda shape, dtype, **more: torch.full(tuple(shape), value, dtype=dtype))
    # Two components, the second heavier, both so narrow that sixteen or thirty-six scales are levels apart.
    raw = torch.tensor([0.0, 1.0, -0.5, 0.1, -5.0, -5.0], dtype=dtype).reshape(1, 6, 1, 1)
    scale = math.exp(-7 + math.log1p(math.exp(2)))

    sample = discretized_logistic(raw, 1).sample()

    reach = scale * math.log(eps / (1 - eps))
    assert sample.item() == pytest.approx(levels_of(0.1 + (reach if end == "least" else -reach)), abs=1e-6)


def test_a_narrow_level_has_its_mass_to_the_last_digit() -> None:
    # Around the width at which the two forms of log(1 - e^-w) change over; the density is flat over so small a bin.
    for width in (0.3e-4, 0.99e-4, 1.01e-4, 3e-4):
        log_scale = math.log(2 / 255 / width)
        raw = torch.tensor([0.0, 0.0, log_scale], dtype=torch.float64).reshape(1, 3, 1, 1)
        scale = math.exp(-7 + math.log1p(math.exp(7 + log_scale)))
        a, b = (128.5 * 2 / 255 - 1) / scale, (127.5 * 2 / 255 - 1) / scale
        # sigmoid(a) - sigmoid(b) = sinh((a - b) / 2) / (2 cosh(a / 2) cosh(b / 2))
        expected = math.log(math.sinh((a - b) / 2) / (2 * math.cosh(a / 2) * math.cosh(b / 2)))

        actual = discretized_logistic(raw, 1).log_prob(torch.full((1, 1, 1, 1), 128 / 255, dtype=torch.float64))

        assert actual.item() == pytest.approx(expected, abs=2e-9)


def test_it_is_no_distribution_of_anything_but_images() -> None:
    assert DiscretizedLogisticMixture.arg_constraints == {}
    assert DiscretizedLogisticMixture.support.event_dim == 3
    assert DiscretizedLogisticMixture.support.check(torch.zeros(1, 1, 1))
    assert not DiscretizedLogisticMixture.support.check(torch.full((1, 1, 1), 1.1))
