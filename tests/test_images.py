"""Pictures at several betas: same inputs, same draws, no noise."""

import pytest
import torch
from torch import Tensor, nn

from multirate.beta import BetaRange
from multirate.convert import convert
from multirate.errors import BetaError, ConversionError, TrainingError, UsageError
from multirate.images import prior_samples, reconstructions
from multirate.models import mlp
from multirate.models.gaussian import GaussianVAE
from multirate.wrapper import MultiRate

BETAS = [0.01, 0.5, 10.0]


@pytest.fixture
def plain() -> GaussianVAE:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return mlp(shape=(1, 4, 4), latents=3, hidden=(16, 8), likelihood="bernoulli")


@pytest.fixture
def multi(plain: GaussianVAE) -> MultiRate:
    return convert(plain, BetaRange(0.01, 10))


@pytest.fixture
def x() -> Tensor:
    return torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0)).round()


def test_reconstructions_are_the_forward_pass_at_each_beta(multi: MultiRate, x: Tensor) -> None:
    images = reconstructions(multi, x, BETAS)
    assert images.shape == (3, 5, 1, 4, 4)
    for row, beta in zip(images, BETAS, strict=True):
        torch.testing.assert_close(torch.from_numpy(row), multi.eval()(x, beta=beta).detach())


def test_a_plain_model_has_one_row(plain: GaussianVAE, x: Tensor) -> None:
    images = reconstructions(plain, x)
    assert images.shape == (1, 5, 1, 4, 4)
    torch.testing.assert_close(torch.from_numpy(images[0]), plain(x).detach())
    assert reconstructions(plain, x.numpy(), [1.0]).tolist() == images.tolist()


def test_a_column_of_samples_is_one_draw_at_every_beta(multi: MultiRate) -> None:
    images = prior_samples(multi, [0.5, 0.5, 10.0], n=4, seed=3)
    assert images.shape == (3, 4, 1, 4, 4)
    assert (images[0] == images[1]).all()
    assert (prior_samples(multi, [10.0], n=4, seed=3)[0] == images[2]).all()


def test_samples_decode_the_prior(plain: GaussianVAE) -> None:
    plain.decode = lambda z: torch.distributions.Normal(z, 1.0)  # type: ignore[method-assign, assignment, return-value]
    draws = prior_samples(plain, n=4000, seed=0)[0]
    assert abs(draws.mean()) < 0.05
    assert abs(draws.std() - 1) < 0.05
    assert (prior_samples(plain, n=4000, seed=1)[0] != draws).any()


def test_nothing_is_random_and_nothing_is_changed(multi: MultiRate, x: Tensor) -> None:
    multi.train()
    state = torch.get_rng_state()
    first, samples = reconstructions(multi, x, BETAS), prior_samples(multi, BETAS)
    assert torch.equal(torch.get_rng_state(), state)
    assert multi.training
    assert (first == reconstructions(multi, x, BETAS)).all()
    assert (samples == prior_samples(multi, BETAS)).all()


def test_a_model_that_cannot_draw_says_what_it_lacks(x: Tensor) -> None:
    with pytest.raises(ConversionError, match="Linear has no method encode"):
        reconstructions(nn.Linear(2, 2), x)
    with pytest.raises(ConversionError, match="Linear has no method prior"):
        prior_samples(nn.Linear(2, 2))


def test_wrong_betas_are_refused(multi: MultiRate, plain: GaussianVAE, x: Tensor) -> None:
    with pytest.raises(UsageError, match="missing"):
        reconstructions(multi, x)
    with pytest.raises(UsageError, match="one beta"):
        reconstructions(plain, x, BETAS)
    with pytest.raises(BetaError, match="100"):
        prior_samples(multi, [100.0])
    with pytest.raises(UsageError, match="n must be"):
        prior_samples(multi, BETAS, n=0)


def test_pictures_that_are_not_finite_are_refused(multi: MultiRate, x: Tensor) -> None:
    with torch.no_grad():
        next(multi.base.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"beta 0\.01"):
        reconstructions(multi, x, BETAS)


def test_a_prior_whose_latents_are_its_batch_is_drawn_from_as_well(plain: GaussianVAE) -> None:
    whole = prior_samples(plain, n=4, seed=3)
    normal = torch.distributions.Normal(torch.zeros(3), torch.ones(3))
    plain.prior = lambda: normal  # type: ignore[method-assign]
    assert prior_samples(plain, n=4, seed=3).tolist() == whole.tolist()
