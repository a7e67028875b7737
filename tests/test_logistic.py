"""The discretised logistic mixture against its definition."""

import numpy as np
import pytest
import torch
from tests.reference.logistic import pixel_probability

from multirate.errors import UsageError
from multirate.logistic import DiscretizedLogisticMixture, discretized_logistic, logistic_channels
from multirate.seeding import generator

CHANNELS = [1, 2, 3]
EVERY_LEVEL = torch.arange(256) / 255
# Location and raw log-scale of one component, far beyond what a level can be.
EXTREMES = [(0.0, -50.0), (1e4, 0.0), (-1e4, -50.0), (0.0, 1e3), (1e4, 1e3), (1.0, -7.0), (0.3, 80.0)]


def raw_of(channels, components=3, height=2, width=2, batch=2, spread=1.0, dtype=torch.float64):
    shape = (batch, logistic_channels(channels, components), height, width)
    return spread * torch.randn(shape, generator=generator(0, "raw", channels), dtype=dtype)


def images_of(channels, batch=2, height=2, width=2):
    levels = torch.randint(256, (batch, channels, height, width), generator=generator(1, "levels"))
    levels[0, :, 0, 0], levels[0, :, 0, 1] = 0, 255
    return levels


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_log_prob_equals_the_definition_pixel_by_pixel(channels, spread):
    raw, levels = raw_of(channels, spread=spread), images_of(channels)
    found = discretized_logistic(raw, channels).log_prob(levels.double() / 255)
    for row in range(2):
        pixels = [(i, j) for i in range(2) for j in range(2)]
        expected = sum(
            np.log(pixel_probability(raw[row, :, i, j].numpy(), levels[row, :, i, j].tolist())) for i, j in pixels
        )
        assert found[row].item() == pytest.approx(expected, rel=1e-9)


def test_probabilities_of_all_levels_of_one_channel_sum_to_one():
    raw = raw_of(1, batch=1, height=1, width=1, spread=3.0).expand(256, -1, -1, -1)
    log_prob = discretized_logistic(raw, 1).log_prob(EVERY_LEVEL.double().reshape(256, 1, 1, 1))
    assert log_prob.exp().sum().item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("last", [1, 2])
def test_levels_of_a_later_channel_sum_to_the_probability_of_the_earlier_ones(last):
    raw = raw_of(3, components=2, batch=1, height=1, width=1)[0, :, 0, 0]
    # The same mixture without the channels from `last` on.
    blocks = raw.reshape(-1, 2)
    kept = [0, *range(1, 1 + last), *range(4, 4 + last), *range(7, 7 + last * (last - 1) // 2)]
    shorter = discretized_logistic(blocks[kept].reshape(1, -1, 1, 1), last)
    kept = [0, *range(1, 2 + last), *range(4, 5 + last), *range(7, 7 + last * (last + 1) // 2)]
    longer = discretized_logistic(blocks[kept].reshape(1, -1, 1, 1).expand(256, -1, -1, -1), last + 1)
    earlier = torch.tensor([40, 200][:last]).double() / 255
    images = torch.cat([earlier.expand(256, last), EVERY_LEVEL.double()[:, None]], dim=1)[:, :, None, None]
    assert longer.log_prob(images).logsumexp(0).item() == pytest.approx(
        shorter.log_prob(earlier.reshape(1, -1, 1, 1)).item(), abs=1e-12
    )


def test_the_lowest_and_highest_level_take_all_that_lies_beyond():
    raw = torch.tensor([0.0, 9.0, -2.0]).reshape(1, 3, 1, 1)
    likelihood = discretized_logistic(raw, 1)
    assert likelihood.log_prob(torch.ones(1, 1, 1, 1)).item() == pytest.approx(0.0, abs=1e-4)
    raw[:, 1] = -9.0
    assert discretized_logistic(raw, 1).log_prob(torch.zeros(1, 1, 1, 1)).item() == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize(("location", "log_scale"), EXTREMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_finite_at_extremes(location, log_scale, dtype):
    raw = torch.tensor([0.0, location, log_scale], dtype=dtype).reshape(1, 3, 1, 1).expand(256, -1, -1, -1)
    raw = raw.clone().requires_grad_()
    log_prob = discretized_logistic(raw, 1).log_prob(EVERY_LEVEL.to(dtype).reshape(256, 1, 1, 1))
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert raw.grad.isfinite().all()


def test_gradients_equal_finite_differences():
    raw = raw_of(3, components=2, batch=1, height=1, width=2).requires_grad_()
    levels = images_of(3, batch=1, height=1, width=2).double() / 255
    assert torch.autograd.gradcheck(lambda r: discretized_logistic(r, 3).log_prob(levels), raw)


def test_the_mean_of_one_channel_is_exact_to_half_a_level():
    raw = raw_of(1, batch=50, height=1, width=1, spread=2.0)
    likelihood = discretized_logistic(raw, 1)
    probabilities = torch.stack(
        [likelihood.log_prob(level.double().expand(50, 1, 1, 1)).exp() for level in EVERY_LEVEL], dim=1
    )
    expected = probabilities @ EVERY_LEVEL.double()
    assert (likelihood.mean.flatten() - expected).abs().max() <= 0.5 / 255


def test_the_mean_of_a_narrow_mixture_follows_the_chain_of_channels():
    # One narrow component: red at 0, green at 0.1 + 0.5 red, blue at -0.2 + tanh(1) red - 0.5 green, in [-1, 1].
    raw = torch.tensor([0, 0.2, 0.1, -0.2, -6, -6, -6, np.arctanh(0.5), 1.0, np.arctanh(-0.5)]).reshape(1, 10, 1, 1)
    red, green = 0.2, 0.1 + 0.5 * 0.2
    blue = -0.2 + np.tanh(1.0) * red - 0.5 * green
    expected = (torch.tensor([red, green, blue]) + 1) / 2
    torch.testing.assert_close(discretized_logistic(raw.float(), 3).mean.flatten(), expected.float(), atol=1e-4, rtol=0)


def test_samples_follow_the_probabilities_of_the_levels():
    raw = raw_of(2, components=2, batch=1, height=1, width=1)
    raw[:, 2:6] -= 2.0
    likelihood = discretized_logistic(raw, 2)
    drawn = likelihood.sample((20_000,), generator=generator(3)).flatten(1) * 255
    assert torch.equal(drawn, drawn.round())
    counts = [(drawn[:, channel, None] == torch.arange(256)).double().mean(0) for channel in range(2)]
    pairs = torch.cartesian_prod(torch.arange(256), torch.arange(256)).double() / 255
    joint = discretized_logistic(raw.expand(len(pairs), -1, -1, -1), 2).log_prob(pairs[:, :, None, None]).exp()
    table = joint.reshape(256, 256)
    for channel, expected in enumerate((table.sum(1), table.sum(0))):
        assert (counts[channel].cumsum(0) - expected.cumsum(0)).abs().max() < 0.015  # Kolmogorov-Smirnov, p = 2e-4
    product = (pairs[:, 0] * pairs[:, 1] * joint).sum().item()
    assert (drawn / 255).prod(1).mean().item() == pytest.approx(product, abs=0.005)


def test_samples_of_a_narrow_mixture_are_the_level_at_its_location_along_the_chain():
    y = [2 * level / 255 - 1 for level in (100, 140, 200)]
    # Green is offset + 0.5 red, blue is offset + 0.5 green.
    locations = [y[0], y[1] - 0.5 * y[0], y[2] - 0.5 * y[1]]
    raw = torch.tensor([0, *locations, -40, -40, -40, np.arctanh(0.5), 0, np.arctanh(0.5)]).reshape(1, 10, 1, 1)
    drawn = discretized_logistic(raw, 3).sample((200,), generator=generator(6)).flatten(1) * 255
    assert (drawn.mode(0).values == torch.tensor([100, 140, 200])).all()
    assert (drawn[:, 0] == 100).double().mean() > 0.93  # 0.973 expected
    assert ((drawn[:, 1] - 140).abs() <= 1).double().mean() > 0.98


def test_samples_repeat_with_an_explicit_generator_and_leave_the_global_one_alone():
    likelihood = discretized_logistic(raw_of(3), 3)
    before = torch.get_rng_state()
    first, second = (likelihood.sample((2,), generator=generator(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
    assert first.shape == (2, 2, 3, 2, 2)
    assert not torch.equal(likelihood.sample(), likelihood.sample())


def test_it_is_a_distribution_over_images():
    likelihood = discretized_logistic(raw_of(3), 3)
    assert isinstance(likelihood, DiscretizedLogisticMixture)
    assert likelihood.batch_shape == (2,)
    assert likelihood.event_shape == (3, 2, 2)
    assert logistic_channels(3) == 100
    assert logistic_channels(1) == 30


@pytest.mark.parametrize("shape", [(2, 11, 4, 4), (2, 0, 4, 4), (2, 10, 4)])
def test_a_wrong_number_of_parameters_is_refused(shape):
    with pytest.raises(UsageError, match=r"multiple of 10; got \["):
        discretized_logistic(torch.zeros(shape), 3)
