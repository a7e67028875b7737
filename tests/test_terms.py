import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Normal, kl_divergence

from multirate.errors import UsageError
from multirate.terms import (
    GaussianPosterior,
    Reconstruction,
    Terms,
    at_least_float32,
    bernoulli,
    categorical,
    diagonal_gaussian,
    distortion,
    gaussian,
    gaussian_kl,
    squared_error,
)

EVENT_SHAPES = [(5,), (1, 4, 3), ()]


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def summed(log_prob: Tensor) -> Tensor:
    return -log_prob.reshape(log_prob.shape[0], -1).sum(1)


@given(mean=st.floats(-20, 20), log_variance=st.floats(-15, 15))
def test_gaussian_kl_agrees_with_torch_distributions(mean: float, log_variance: float) -> None:
    mean_, log_variance_ = (torch.tensor([v], dtype=torch.float64) for v in (mean, log_variance))
    standard = Normal(torch.zeros_like(mean_), torch.ones_like(mean_))

    expected = kl_divergence(Normal(mean_, (log_variance_ / 2).exp()), standard)

    torch.testing.assert_close(gaussian_kl(mean_, log_variance_), expected, rtol=1e-10, atol=1e-13)


@given(log_variance=st.floats(-1e-3, 1e-3))
def test_gaussian_kl_keeps_its_digits_near_the_prior(log_variance: float) -> None:
    x = torch.tensor(log_variance, dtype=torch.float64)
    series = log_variance**2 / 4 + log_variance**3 / 12 + log_variance**4 / 48

    assert gaussian_kl(torch.zeros_like(x), x).item() == pytest.approx(series, rel=1e-6, abs=1e-19)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gaussian_kl_is_never_negative(dtype: torch.dtype) -> None:
    steps = torch.logspace(-12, 1, 100_000, dtype=torch.float64).to(dtype)
    log_variance = torch.cat([steps, -steps])

    assert gaussian_kl(torch.zeros_like(log_variance), log_variance).min() >= 0


def test_gaussian_kl_is_one_number_a_latent() -> None:
    assert gaussian_kl(randn(3, 4), randn(3, 4)).shape == (3, 4)


def test_diagonal_gaussian_is_the_posterior_of_its_mean_and_log_variance() -> None:
    mean, log_variance, z = randn(3, 4), randn(3, 4, seed=1), randn(3, 4, seed=2)

    posterior = diagonal_gaussian(mean, log_variance)

    assert (posterior.batch_shape, posterior.event_shape) == ((3,), (4,))
    torch.testing.assert_close(posterior.mean, mean)
    torch.testing.assert_close(posterior.variance, log_variance.exp())
    torch.testing.assert_close(-posterior.log_prob(z), summed(Normal(mean, (log_variance / 2).exp()).log_prob(z)))
    prior = Independent(Normal(torch.zeros(3, 4).double(), torch.ones(3, 4).double()), 1)
    torch.testing.assert_close(kl_divergence(posterior, prior), gaussian_kl(mean, log_variance).sum(-1))


@pytest.mark.parametrize("shape", EVENT_SHAPES, ids=str)
def test_bernoulli_distortion_is_the_summed_cross_entropy(shape: tuple[int, ...]) -> None:
    logits, x = 5 * randn(6, *shape), (randn(6, *shape, seed=1) > 0).double()

    actual = distortion(bernoulli(logits), x)

    torch.testing.assert_close(actual, summed(Bernoulli(logits=logits).log_prob(x)), rtol=1e-12, atol=1e-12)


def test_bernoulli_distortion_is_finite_for_certain_and_wrong_logits() -> None:
    x = torch.tensor([[1.0], [0.0]])

    torch.testing.assert_close(distortion(bernoulli(torch.tensor([[-1e4], [1e4]])), x), torch.tensor([1e4, 1e4]))
    torch.testing.assert_close(distortion(bernoulli(torch.tensor([[1e4], [-1e4]])), x), torch.zeros(2))


@pytest.mark.parametrize("shape", EVENT_SHAPES, ids=str)
@pytest.mark.parametrize("variance", [1.0, 0.25, 7.0])
def test_gaussian_distortion_keeps_its_constant(shape: tuple[int, ...], variance: float) -> None:
    mean, x = randn(6, *shape), randn(6, *shape, seed=1)

    actual = distortion(gaussian(mean, variance), x)

    torch.testing.assert_close(actual, summed(Normal(mean, math.sqrt(variance)).log_prob(x)), rtol=1e-12, atol=1e-12)


def test_unit_variance_gaussian_at_its_mean_costs_half_log_two_pi_a_value() -> None:
    mean = randn(2, 3, 4)

    torch.testing.assert_close(distortion(gaussian(mean), mean), torch.full((2,), 6 * math.log(2 * math.pi)).double())


@pytest.mark.parametrize("variance_shape", [(), (4,), (6, 1), (6, 4)], ids=str)
def test_gaussian_takes_a_variance_that_broadcasts(variance_shape: tuple[int, ...]) -> None:
    mean, x, variance = randn(6, 4), randn(6, 4, seed=1), randn(*variance_shape, seed=2).exp()

    actual = distortion(gaussian(mean, variance), x)

    torch.testing.assert_close(actual, summed(Normal(mean, variance.sqrt().expand(6, 4)).log_prob(x)))


@pytest.mark.parametrize("variance", [0.0, -1.0, math.nan, math.inf])
def test_gaussian_refuses_a_variance_that_is_not_positive_and_finite(variance: float) -> None:
    with pytest.raises(UsageError, match="variance above 0"):
        gaussian(torch.zeros(1, 2), variance)


@pytest.mark.parametrize("shape", EVENT_SHAPES, ids=str)
def test_categorical_distortion_is_the_summed_cross_entropy(shape: tuple[int, ...]) -> None:
    logits = 3 * randn(6, *shape, 5)
    x = torch.randint(0, 5, (6, *shape), generator=torch.Generator().manual_seed(1))

    actual = distortion(categorical(logits), x)

    torch.testing.assert_close(actual, summed(Categorical(logits=logits).log_prob(x)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "likelihood",
    [Normal(torch.zeros(3, 2), 1.0), Independent(Normal(torch.zeros(3, 2), 1.0), 2), gaussian(torch.zeros(1, 3, 2))],
    ids=["per value", "whole batch", "another batch size"],
)
def test_a_likelihood_that_is_not_one_number_an_example_is_refused(likelihood: Distribution) -> None:
    with pytest.raises(UsageError, match="one number an example"):
        distortion(likelihood, torch.zeros(3, 2))


def test_elbo_and_objective_come_from_rate_and_distortion() -> None:
    terms = Terms(rate=torch.tensor([1.0, 2.0]), distortion=torch.tensor([10.0, 20.0]))

    assert terms.elbo.tolist() == [-11.0, -22.0]
    assert terms.objective(0.5).tolist() == [10.5, 21.0]
    assert terms.objective(torch.tensor([0.5, 2.0])).tolist() == [10.5, 24.0]
    torch.testing.assert_close(terms.objective(1.0), -terms.elbo)


@pytest.mark.parametrize(
    ("rate", "distortion"),
    [((), ()), ((3,), (2,)), ((3, 1), (3, 1)), ((3,), ()), ((3, 4), (3,)), ((1,), (3,))],
    ids=str,
)
def test_terms_that_are_not_one_number_an_example_are_refused(
    rate: tuple[int, ...], distortion: tuple[int, ...]
) -> None:
    with pytest.raises(UsageError, match="not over the batch"):
        Terms(torch.zeros(rate), torch.zeros(distortion))


@pytest.mark.parametrize("likelihood", [bernoulli, gaussian, categorical])
def test_gradients_reach_the_likelihood(likelihood: object) -> None:
    parameters = randn(3, 4, 5).requires_grad_()
    x = torch.ones(3, 4) if likelihood is categorical else torch.ones(3, 4, 5)

    distortion(likelihood(parameters), x).sum().backward()  # type: ignore[operator]

    assert parameters.grad is not None
    assert parameters.grad.isfinite().all()
    assert parameters.grad.any()


def test_an_extra_loss_is_added_to_the_objective_as_it_is_and_to_nothing_else() -> None:
    rate, distortion_, extra = torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0]), torch.tensor([100.0, 200.0])
    terms = Terms(rate, distortion_, extra=extra)

    assert terms.objective(0.5).tolist() == [110.5, 221.0]
    assert terms.objective(torch.tensor([2.0, 0.0])).tolist() == [112.0, 220.0]
    assert terms.elbo.tolist() == [-11.0, -22.0]
    assert terms.with_extra(rate).tolist() == [101.0, 202.0]
    assert Terms(rate, distortion_).with_extra(rate) is rate


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1)], ids=str)
def test_an_extra_loss_that_is_not_one_number_an_example_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"extra must be one number an example, \[2\].*expand"):
        Terms(torch.zeros(2), torch.zeros(2), extra=torch.zeros(shape))


UNVALIDATED = {
    "diagonal_gaussian": lambda raw: diagonal_gaussian(raw, raw),
    "bernoulli": bernoulli,
    "gaussian": gaussian,
    "gaussian of a variance": lambda raw: gaussian(raw, torch.ones(())),
    "squared_error": squared_error,
    "categorical": categorical,
}


@pytest.mark.parametrize("name", UNVALIDATED)
def test_nothing_is_validated_where_training_is_fast(name: str) -> None:
    likelihood = UNVALIDATED[name](torch.full((2, 3), math.nan))

    assert isinstance(likelihood, Independent)
    assert likelihood._validate_args is False
    assert likelihood.base_dist._validate_args is False
    assert likelihood.log_prob(torch.zeros(2, *likelihood.event_shape)).isnan().all()


def test_a_bernoulli_likelihood_takes_grey_values() -> None:
    logits, x = randn(2, 3), torch.full((2, 3), 0.25, dtype=torch.float64)

    expected = (torch.nn.functional.softplus(logits) - x * logits).sum(1)

    torch.testing.assert_close(distortion(bernoulli(logits), x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", EVENT_SHAPES, ids=str)
def test_squared_error_is_half_the_variance_without_its_constant(shape: tuple[int, ...]) -> None:
    mean, x = randn(6, *shape), randn(6, *shape, seed=1)

    actual = distortion(squared_error(mean), x)

    torch.testing.assert_close(actual, (x - mean).square().reshape(6, -1).sum(1), rtol=1e-12, atol=1e-12)
    constant = math.prod(shape) / 2 * math.log(math.pi)
    torch.testing.assert_close(distortion(gaussian(mean, 0.5), x) - constant, actual, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(squared_error(mean).variance, torch.full_like(mean, 0.5), rtol=1e-12, atol=0)


def test_a_reconstruction_counts_values_and_sums_the_squares_of_errors() -> None:
    mean, x = randn(6, 3, 4, 2), randn(6, 3, 4, 2, seed=1)

    reconstruction = Reconstruction(bernoulli(mean), x)

    assert reconstruction.dimensions == 24
    expected = (x - 1 / (1 + (-mean).exp())).pow(2).reshape(6, 24).sum(1)
    torch.testing.assert_close(reconstruction.squared_error(), expected, rtol=1e-12, atol=1e-12)


def test_terms_know_nothing_that_was_not_given_and_do_not_change() -> None:
    terms = Terms(torch.zeros(2), torch.zeros(2))
    absent = (terms.latent_rate, terms.group_rate, terms.posterior, terms.dimensions, terms.reconstruction, terms.extra)

    assert absent == (None,) * 6
    kept = (
        terms,
        GaussianPosterior(terms.rate, terms.rate, terms.rate),
        Reconstruction(bernoulli(terms.rate), terms.rate),
    )
    for thing, name in zip(kept, ("rate", "mean", "x"), strict=True):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, torch.ones(2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_low_precision_alone_is_raised_to_float32(dtype: torch.dtype) -> None:
    values = torch.tensor([1.5, -2.0], dtype=dtype)

    raised = at_least_float32(values)

    assert raised.dtype == (torch.float32 if dtype.itemsize == 2 else dtype)
    assert (raised is values) == (dtype.itemsize > 2)
    assert raised.tolist() == [1.5, -2.0]
