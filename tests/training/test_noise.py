import pytest
import torch
from torch.distributions import Bernoulli, Normal
from torch.utils.checkpoint import checkpoint

from multirate.training.noise import JointNoise

SHARE, PROCESSES = 6, 3
# What models do to draw, given a mean an example.
DRAWS = {
    "randn_like": torch.randn_like,
    "rand_like": torch.rand_like,
    "rsample": lambda mean: Normal(mean, 0.5).rsample(),
    "sample": lambda mean: torch.normal(mean, torch.full_like(mean, 0.5)),
    "bernoulli": lambda mean: torch.bernoulli(mean.sigmoid()),
    "uniform_": lambda mean: torch.empty_like(mean).uniform_(-1, 1),
    "bernoulli_ of a tensor": lambda mean: torch.empty_like(mean).bernoulli_(mean.sigmoid()),
    "two draws": lambda mean: torch.randn_like(mean) + torch.rand_like(mean[:, :1]),
}


def generator():
    return torch.Generator().manual_seed(7)


def means(memory_format=torch.contiguous_format):
    values = torch.randn(PROCESSES * SHARE, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    return values.contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", DRAWS)
def test_processes_draw_the_rows_of_what_one_draws_for_the_whole_batch(name, memory_format):
    torch.manual_seed(7)
    whole = DRAWS[name](means(memory_format))
    parts = []
    for index, mean in enumerate(means(memory_format).split(SHARE)):
        with JointNoise(generator(), PROCESSES, index, SHARE):
            parts.append(DRAWS[name](mean))
    assert torch.equal(torch.cat(parts), whole)
    assert parts[1].is_contiguous(memory_format=memory_format) == whole.is_contiguous(memory_format=memory_format)


def test_the_gradient_passes_through_a_reparameterized_sample():
    mean = torch.zeros(SHARE, 2, requires_grad=True)
    with JointNoise(generator(), PROCESSES, 1, SHARE):
        Normal(mean, 1.0).rsample().sum().backward()
    assert torch.equal(mean.grad, torch.ones(SHARE, 2))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.randn_like(torch.zeros(SHARE + 1, 2)),
        lambda: torch.randn(SHARE, 2),
        lambda: Bernoulli(torch.tensor(0.5)).sample((SHARE,)),
        lambda: torch.normal(0.0, 1.0, (SHARE, 2)),
    ],
    ids=["another size", "randn", "no examples", "sizes"],
)
def test_other_draws_come_from_the_global_generator(draw):
    torch.manual_seed(3)
    expected = draw()
    torch.manual_seed(3)
    with JointNoise(generator(), PROCESSES, 1, SHARE):
        assert torch.equal(draw(), expected)


def test_a_generator_of_the_callers_own_is_used():
    target, own = torch.empty(SHARE, 2), torch.Generator()
    with JointNoise(generator(), PROCESSES, 1, SHARE):
        target.normal_(generator=own.manual_seed(3))
    assert torch.equal(target, torch.empty(SHARE, 2).normal_(generator=own.manual_seed(3)))


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_activation_checkpointing_sees_the_same_noise_twice(use_reentrant):
    x = torch.ones(SHARE, 2, requires_grad=True)
    with JointNoise(generator(), PROCESSES, 1, SHARE):
        noise = checkpoint(lambda x: x * torch.randn_like(x), x, use_reentrant=use_reentrant)
        noise.sum().backward()
    assert torch.equal(x.grad, noise.detach())
