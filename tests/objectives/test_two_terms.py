"""Two losses in the place of distortion and rate: a trade-off with a known front, and what is refused."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import multirate as mr
from multirate.errors import UsageError
from multirate.objectives import TwoTerms


class Shift(nn.Module):
    """A network that gives one number an example, the same for all."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(torch.zeros(len(x), 1, dtype=x.dtype)).squeeze(1)


def parabolas(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Two parabolas with minima at 0 and 1: A + lambda B is least at lambda / (1 + lambda)."""
    y = module(x)
    return y.square(), (y - 1).square()


X = torch.zeros(16, 1, dtype=torch.float64)


def converted(**options: Any) -> mr.MultiRate:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        both = TwoTerms(Shift(), parabolas, **options)
        return mr.convert(both, mr.BetaRange(0.1, 10.0), encoder="module", decoder=())


def test_the_first_loss_is_the_distortion_and_the_second_the_rate() -> None:
    both = TwoTerms(Shift(), lambda module, x: (x.sum(1), 2 * x.sum(1)))
    x = torch.arange(6.0, dtype=torch.float64).reshape(3, 2)

    terms = both.terms(x)

    assert terms.distortion.tolist() == [1.0, 5.0, 9.0]
    assert terms.rate.tolist() == [2.0, 10.0, 18.0]
    assert terms.objective(0.5).tolist() == [2.0, 10.0, 18.0]
    assert torch.equal(both(x), both.module(x))


@pytest.mark.slow
def test_one_run_gives_the_whole_front_of_two_parabolas() -> None:
    model = converted()
    mr.fit(model, X, epochs=700, batch_size=16, learning_rate=1e-2, progress=False)

    curve = mr.evaluate(model, X, betas=9, progress=False)

    # At the optimum A = (lambda / (1 + lambda))^2 and B = 1 / (1 + lambda)^2.
    np.testing.assert_allclose(np.sqrt(curve.distortions), curve.betas / (1 + curve.betas), atol=0.01)
    np.testing.assert_allclose(np.sqrt(curve.rates), 1 / (1 + curve.betas), atol=0.01)
    folded = mr.fold(model, 3.0)
    assert isinstance(folded, TwoTerms)
    assert folded.module(X[:1]).item() == pytest.approx(0.75, abs=0.01)


def test_a_loss_of_the_whole_batch_is_each_examples_and_asks_for_one_weight_a_batch() -> None:
    from multirate.objectives import beta_vae
    from multirate.training.objective import one_beta_a_step

    def with_distance(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        y = module(x)
        return y.square(), (y.mean() - 1).square()

    both = TwoTerms(Shift(), with_distance, couples_examples=True)
    terms = both.terms(X[:3])

    assert terms.rate.tolist() == [terms.rate[0].item()] * 3
    model = mr.convert(both, mr.BetaRange(), encoder="module", decoder=())
    assert one_beta_a_step(model, beta_vae)
    assert not one_beta_a_step(converted(), beta_vae)


def test_a_module_of_losses_is_part_of_the_model_and_a_function_is_not() -> None:
    class Losses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
            return x.sum(1) * self.scale, x.sum(1)

    assert "losses.scale" in TwoTerms(Shift(), Losses()).state_dict()
    assert set(TwoTerms(Shift(), parabolas).state_dict()) == {"module.net.weight", "module.net.bias"}


def test_copies_share_losses_that_are_no_module_and_copy_the_network() -> None:
    class Losses:
        def __init__(self) -> None:
            self.calls, self.features = 0, nn.Linear(1, 1)

        def __call__(self, module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
            self.calls += 1
            return parabolas(module, x)

    losses = Losses()
    both = TwoTerms(Shift(), losses)
    model = mr.convert(both, mr.BetaRange(), encoder="module", decoder=())
    mr.fold(model, 1.0).terms(X)
    model.terms(X, beta=1.0)

    assert losses.calls == 2
    assert model.base.losses is losses
    assert model.base.module is not both.module
    assert model.base.module.net.weight is not both.module.net.weight
    assert "losses" not in " ".join(model.state_dict())


WRONG = [
    (lambda m, x: x.sum(1), "must return two tensors, A and B; got Tensor"),
    (lambda m, x: (x.sum(1),), "a tuple of 1: Tensor"),
    (lambda m, x: (x.sum(1), 3.0), "a tuple of 2: Tensor, float"),
    (lambda m, x: (x, x.sum(1)), r"loss A must be one number an example, \[3\]; got \[3, 2\]: sum over all but"),
    (lambda m, x: (x.sum(1), x.sum()), r"loss B .* got \[\].*couples_examples=True"),
    (lambda m, x: (x.sum(1)[:1], x.sum(1)), r"loss A .* got \[1\]"),
]


@pytest.mark.parametrize(("losses", "message"), WRONG, ids=[message[:24] for _, message in WRONG])
def test_losses_that_are_not_two_numbers_an_example_are_refused(losses: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TwoTerms(Shift(), losses).terms(torch.ones(3, 2))


class WithLosses(nn.Module):
    """A network whose two losses are a method of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 6), nn.Linear(6, 4)

    def both(self, network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encoder(x)
        return (self.decoder(code) - x).square().sum(1), code.square().sum(1)


def test_losses_that_are_a_method_of_the_network_are_of_the_converted_one() -> None:
    network = WithLosses()
    model = mr.convert(TwoTerms(network, network.both), mr.BetaRange(0.1, 10.0), encoder="module.encoder", decoder=())
    with torch.no_grad():
        for parameter in model.response.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    assert not torch.allclose(model.terms(x, beta=0.1).rate, model.terms(x, beta=10.0).rate)
    model.terms(x, beta=1.0).rate.sum().backward()
    assert network.encoder.weight.grad is None


class Distances(nn.Module):
    """Losses that are a module with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(()))

    def forward(self, module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        a: Tensor = (module(x) - self.place).square().sum(1)
        return a, a


def test_a_copy_has_losses_of_its_own_where_they_are_a_module_and_knows_itself() -> None:
    both = TwoTerms(nn.Linear(2, 2), Distances())
    both.register_buffer("unused", torch.zeros(1))
    both.__dict__["myself"] = [both]

    copied = copy.deepcopy(both)

    assert isinstance(copied.losses, Distances)
    assert copied.losses is not both.losses
    assert copied.losses.place.data_ptr() != both.losses.place.data_ptr()
    assert copied.__dict__["myself"][0] is copied
    assert list(copied.state_dict()) == list(both.state_dict())


def test_it_runs_the_network_with_all_that_it_is_given() -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor, *, factor: float = 1.0) -> Tensor:
            return factor * x

    assert TwoTerms(Scaled(), parabolas)(torch.ones(2), factor=3.0).tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 1), (2,)), "loss A must be one number an example, [2]; got [2, 1]: sum over all but the batch"),
        (((2,), (3,)), "loss B must be one number an example, [2]; got [3]: sum over all but the batch"),
        (
            ((2,), ()),
            "loss B must be one number an example, [2]; got []: sum over all but the batch, or set "
            "couples_examples=True if it is one of the whole batch",
        ),
    ],
)
def test_a_loss_of_another_shape_is_named_with_its_remedy(shapes: Any, message: str) -> None:
    both = TwoTerms(nn.Linear(2, 2), lambda module, x: tuple(torch.zeros(shape) for shape in shapes))

    with pytest.raises(UsageError) as caught:
        both.terms(torch.zeros(2, 2))
    assert str(caught.value) == message
