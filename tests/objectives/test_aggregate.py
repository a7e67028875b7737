import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from multirate.objectives.aggregate import _chunks, aggregate_log_densities
from multirate.terms import GaussianPosterior
from objective_cases import random_posterior

WEIGHTS = {"equal": (1 / 6, 1 / 6), "own": (0.5, 0.1), "others": (0.0125, 0.1975)}
CHUNKS = (1, 18, 37, 10**6)


def mixture_log_densities(posterior: GaussianPosterior, own: float, other: float) -> tuple[Tensor, Tensor]:
    """Slow truth: one ``torch.distributions`` mixture a sample."""
    joint, marginals = [], []
    scale = (0.5 * posterior.log_variance).exp()
    for row, z in enumerate(posterior.sample):
        weights = torch.full((len(scale),), other, dtype=z.dtype)
        weights[row] = own
        # MixtureSameFamily normalises weights; their sum is put back.
        total = weights.sum().log()
        whole = MixtureSameFamily(Categorical(weights), Independent(Normal(posterior.mean, scale), 1))
        joint.append(whole.log_prob(z) + total)
        latents = zip(posterior.mean.T, scale.T, z, strict=True)
        single = [MixtureSameFamily(Categorical(weights), Normal(m, s)).log_prob(value) for m, s, value in latents]
        marginals.append(torch.stack(single) + total)
    return torch.stack(joint), torch.stack(marginals)


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("chunk", CHUNKS)
def test_densities_are_those_of_a_mixture(weights: tuple[float, float], chunk: int) -> None:
    posterior = random_posterior(6, 3)
    own, other = weights

    joint, marginals = aggregate_log_densities(posterior, math.log(own), math.log(other), chunk)
    expected = mixture_log_densities(posterior, own, other)

    torch.testing.assert_close(joint, expected[0])
    torch.testing.assert_close(marginals, expected[1])


@pytest.mark.parametrize("chunk", CHUNKS)
def test_gradients_are_those_of_a_mixture(chunk: int) -> None:
    posterior = random_posterior(6, 3)
    leaves = [v.clone().requires_grad_() for v in (posterior.mean, posterior.log_variance, posterior.sample)]
    upstream = torch.randn(6, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def gradients(joint: Tensor, marginals: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad((torch.cat([joint[:, None], marginals], 1) * upstream).sum(), leaves)

    found = gradients(*aggregate_log_densities(GaussianPosterior(*leaves), math.log(0.25), math.log(0.15), chunk))
    expected = gradients(*mixture_log_densities(GaussianPosterior(*leaves), 0.25, 0.15))

    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_densities_of_far_samples_do_not_underflow() -> None:
    # In the last row both components are hundreds of standard deviations away.
    mean = torch.tensor([[0.0], [1000.0]])
    sample = torch.tensor([[500.0], [1000.0]])

    joint, _ = aggregate_log_densities(GaussianPosterior(mean, torch.zeros(2, 1), sample), math.log(0.5), math.log(0.5))

    # Both components are equally far from the first sample.
    torch.testing.assert_close(joint, torch.tensor([-125000.0, math.log(0.5)]) - 0.5 * math.log(2 * math.pi))


def test_inputs_are_left_as_they_were() -> None:
    posterior = random_posterior(5, 2)
    before = [v.clone() for v in (posterior.mean, posterior.log_variance, posterior.sample)]

    aggregate_log_densities(posterior, -1.0, -2.0)

    assert all(
        torch.equal(a, b)
        for a, b in zip(before, (posterior.mean, posterior.log_variance, posterior.sample), strict=True)
    )


def test_either_density_alone_has_its_gradient() -> None:
    posterior = random_posterior(5, 2)
    mean = posterior.mean.requires_grad_()
    given = GaussianPosterior(mean, posterior.log_variance, posterior.sample)

    for index in range(2):
        found, expected = (
            torch.autograd.grad(densities(given, *weights)[index].sum(), mean)[0]
            for densities, weights in (
                (aggregate_log_densities, (math.log(0.4), math.log(0.15))),
                (mixture_log_densities, (0.4, 0.15)),
            )
        )
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_types_are_known_without_numbers(dtype: torch.dtype) -> None:
    posterior = [torch.empty(5, 3, dtype=dtype, device="meta") for _ in range(3)]
    joint, marginals = torch.ops.multirate.mixture_log_densities(*posterior, -1.0, -2.0, 64)

    gradients = torch.ops.multirate.mixture_log_densities_gradient(
        joint, marginals, joint, marginals, *posterior, -1.0, -2.0, 64
    )

    assert [part.shape for part in (joint, marginals, *gradients)] == [(5,), *[(5, 3)] * 4]
    assert {part.dtype for part in (joint, marginals, *gradients)} == {dtype}
    assert len({id(part) for part in gradients}) == 3


@pytest.mark.parametrize(
    ("chunk", "expected"), [(1, [1] * 5), (30, [2, 2, 1]), (44, [2, 2, 1]), (45, [3, 2]), (99, [5])]
)
def test_chunks_have_as_many_rows_as_fit_and_at_least_one(chunk: int, expected: list[int]) -> None:
    rows = list(_chunks(torch.zeros(3, 5), chunk))

    assert [row.stop - row.start for row in rows] == expected
    assert [i for row in rows for i in range(row.start, row.stop)] == list(range(5))
    assert list(_chunks(torch.zeros(3, 0), chunk)) == []
    assert list(_chunks(torch.zeros(0, 5), 1)) == [slice(i, i + 1) for i in range(5)]
