import pytest
import torch

from multirate.errors import BetaError, UsageError
from multirate.objectives import FreeBits
from multirate.terms import Terms

# Means over the batch: 0.2, 0.5 and 3.
LATENT_RATE = torch.tensor([[0.1, 1.0, 2.0], [0.3, 0.0, 4.0]])
TERMS = Terms(LATENT_RATE.sum(-1), torch.tensor([10.0, 20.0]), LATENT_RATE)


@pytest.mark.parametrize(
    ("nats", "expected"),
    [
        (0.0, [10 + 2 * 3.1, 20 + 2 * 4.3]),
        (0.3, [10 + 2 * (0.3 + 1.0 + 2.0), 20 + 2 * (0.3 + 0.0 + 4.0)]),
        (0.5, [10 + 2 * (0.5 + 0.5 + 2.0), 20 + 2 * (0.5 + 0.5 + 4.0)]),
        (9.0, [10 + 2 * 27.0, 20 + 2 * 27.0]),
    ],
)
def test_latents_below_the_floor_on_the_mean_cost_the_floor(nats: float, expected: list[float]) -> None:
    torch.testing.assert_close(FreeBits(nats)(TERMS, 2.0), torch.tensor(expected))


@pytest.mark.parametrize("nats", [0.0, 0.15, 0.5, 2.5, 10.0])
def test_losses_average_to_the_papers_sum_of_maxima(nats: float) -> None:
    expected = 15.0 + 2.0 * LATENT_RATE.mean(0).clamp(min=nats).sum()

    torch.testing.assert_close(FreeBits(nats)(TERMS, 2.0).mean(), expected)


def test_each_example_can_have_its_own_floor_and_then_its_own_beta() -> None:
    expected = torch.tensor([10 + 1.0 * (0.5 + 1.0 + 2.0), 20 + 3.0 * (0.5 + 0.5 + 4.0)])

    torch.testing.assert_close(FreeBits(0.5, per_example=True)(TERMS, torch.tensor([1.0, 3.0])), expected)
    assert not FreeBits(0.5, per_example=True).couples_examples
    assert FreeBits(0.5).couples_examples


def test_the_number_of_betas_is_checked_with_a_floor_an_example_too() -> None:
    with pytest.raises(BetaError, match="for 2 examples"):
        FreeBits(0.5, per_example=True)(TERMS, torch.ones(3))


@pytest.mark.parametrize("per_example", [False, True])
def test_there_is_no_gradient_at_or_below_the_floor(per_example: bool) -> None:
    rates = LATENT_RATE.clone().requires_grad_()
    terms = Terms(rates.sum(-1), torch.zeros(2), rates)

    FreeBits(0.5, per_example)(terms, 2.0).sum().backward()

    assert rates.grad is not None
    above = LATENT_RATE > 0.5 if per_example else torch.tensor([[False, False, True]]).expand(2, 3)
    assert torch.equal(rates.grad, 2.0 * above)


def test_groups_come_before_latents_where_a_model_has_them() -> None:
    terms = Terms(TERMS.rate, TERMS.distortion, LATENT_RATE, group_rate=torch.tensor([[1.1, 2.0], [0.3, 4.0]]))

    torch.testing.assert_close(FreeBits(1.0)(terms, 1.0), torch.tensor([10 + 1.0 + 2.0, 20 + 1.0 + 4.0]))


def test_a_model_without_such_rates_is_told_what_to_fill() -> None:
    with pytest.raises(UsageError, match=r"fill latent_rate, \[B, Z\], or group_rate, \[B, G\]"):
        FreeBits(1.0)(Terms(TERMS.rate, TERMS.distortion), 1.0)


@pytest.mark.parametrize("nats", [-0.1, float("nan"), float("inf")])
def test_a_floor_that_cannot_be_is_refused(nats: float) -> None:
    with pytest.raises(UsageError, match="finite and not negative; got"):
        FreeBits(nats)
