import pytest
import torch
from torch import Tensor

from multirate.errors import BetaError, UsageError
from multirate.objectives import BetaTCVAE, DistortionWeighted, Objective, beta_vae, couples_examples, weighted
from multirate.terms import Terms

TERMS = Terms(rate=torch.tensor([1.0, 2.0, 3.0]), distortion=torch.tensor([10.0, 20.0, 30.0]))


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        (1.0, [11.0, 22.0, 33.0]),
        (0.5, [10.5, 21.0, 31.5]),
        (torch.tensor(0.5), [10.5, 21.0, 31.5]),
        (torch.tensor([0.0, 1.0, 10.0]), [10.0, 22.0, 60.0]),
    ],
)
def test_beta_vae_is_distortion_plus_beta_times_rate(beta: float | Tensor, expected: list[float]) -> None:
    objective: Objective = beta_vae

    assert objective(TERMS, beta).tolist() == expected


@pytest.mark.parametrize("shape", [(2,), (3, 1), (1, 3), (1,)], ids=str)
def test_betas_that_would_broadcast_over_examples_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BetaError, match="for 3 examples"):
        beta_vae(TERMS, torch.ones(shape))


@pytest.mark.parametrize(
    ("weight", "expected"),
    [(1.0, [11.0, 22.0, 33.0]), (0.5, [6.0, 12.0, 18.0]), (torch.tensor([0.5, 1.0, 10.0]), [6.0, 22.0, 303.0])],
)
def test_lambda_weighs_the_distortion(weight: float | Tensor, expected: list[float]) -> None:
    assert DistortionWeighted(power=1)(TERMS, weight).tolist() == expected
    assert weighted(TERMS, weight, "distortion").tolist() == pytest.approx((torch.tensor(expected) / weight).tolist())
    assert weighted(TERMS, weight).tolist() == beta_vae(TERMS, weight).tolist()


def test_what_is_weighed_is_one_of_two() -> None:
    with pytest.raises(UsageError, match="'rate' or 'distortion'; got 'both'"):
        weighted(TERMS, 1.0, "both")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="power must be finite; got nan"):
        DistortionWeighted(power=float("nan"))


@pytest.mark.parametrize("shape", [(2,), (3, 1)], ids=str)
def test_lambdas_that_would_broadcast_over_examples_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BetaError, match="for 3 examples"):
        weighted(TERMS, torch.ones(shape), "distortion")


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_power_of_lambda_changes_the_scale_alone(power: float) -> None:
    weight = torch.tensor([0.25, 1.0, 4.0])
    expected = weight**power * torch.tensor([10 + 4 * 1, 20 + 2, 30 + 3 / 4])

    assert DistortionWeighted(power=power)(TERMS, weight).tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_an_extra_loss_is_not_weighed(power: float) -> None:
    extra = torch.tensor([5.0, 6.0, 7.0])
    terms = Terms(TERMS.rate, TERMS.distortion, extra=extra)
    objective = DistortionWeighted(power=power)

    difference = objective(terms, torch.full((3,), 8.0)) - objective(TERMS, torch.full((3,), 8.0))

    assert difference.tolist() == extra.tolist()


def test_an_objective_that_couples_examples_does_so_under_lambda() -> None:
    assert couples_examples(DistortionWeighted(BetaTCVAE(10)))
    assert not couples_examples(DistortionWeighted())
