"""Evaluation: closed forms, a slow reference, and what must not change the numbers."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from multirate.beta import BetaRange
from multirate.convert import convert
from multirate.curve import Curve
from multirate.data import TensorSource
from multirate.errors import BetaError, ConversionError, DataError, TrainingError, UsageError
from multirate.evaluate import evaluate
from multirate.models import mlp
from multirate.seeding import derive_seed
from multirate.terms import Terms, diagonal_gaussian, distortion, gaussian, gaussian_kl
from multirate.wrapper import MultiRate

BETAS = [0.05, 0.4, 2.0]


class LinearGaussian(nn.Module):
    """q(z|x) = N(a x, s^2), p(x|z) = N(w z, 1), for which rate and distortion are known."""

    def __init__(self, encoder: Tensor, std: Tensor, decoder: Tensor) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Parameter(encoder), nn.Parameter(decoder)
        self.std = nn.Parameter(std)

    def encode(self, x: Tensor) -> Any:
        mean = x @ self.encoder.T
        return diagonal_gaussian(mean, (2 * self.std.log()).expand_as(mean))

    def terms(self, x: Tensor) -> Terms:
        posterior = self.encode(x)
        rate = gaussian_kl(posterior.mean, posterior.base_dist.scale.log() * 2).sum(-1)
        return Terms(rate, distortion(gaussian(posterior.rsample() @ self.decoder.T), x))

    @torch.no_grad()
    def expected(self, x: Tensor) -> tuple[float, float]:
        """Mean rate and distortion over the examples, integrated over the posterior by hand."""
        x, a, w, s = x.double(), self.encoder.double(), self.decoder.double(), self.std.double()
        mean = x @ a.T
        rate = 0.5 * (mean.square() + s.square() - 1 - 2 * s.log()).sum(-1)
        error = (x - mean @ w.T).square().sum(-1) + (w.square() * s.square()).sum()
        return float(rate.mean()), float(0.5 * error.mean() + 0.5 * x.shape[1] * math.log(2 * math.pi))


@pytest.fixture
def data() -> Tensor:
    return torch.randn(130, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def toy() -> LinearGaussian:
    g = torch.Generator().manual_seed(1)
    std = torch.tensor([0.3, 0.7, 1.0])
    return LinearGaussian(torch.randn(3, 6, generator=g), std, torch.randn(6, 3, generator=g))


@pytest.fixture
def multi() -> MultiRate:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return convert(mlp(shape=(6,), latents=3, hidden=(16, 8), likelihood="gaussian"), BetaRange(0.01, 10))


def run(model: nn.Module, data: Any, betas: Any = BETAS, **options: Any) -> Curve:
    return evaluate(model, data, betas, progress=False, **{"batch_size": 50, **options})


def test_rate_is_exact_and_distortion_right_to_the_noise_of_the_samples(toy: LinearGaussian, data: Tensor) -> None:
    rate, expected = toy.expected(data)
    (known,) = run(toy, data, beta=1.0, samples=400).points
    assert known["rate"] == pytest.approx(rate, rel=1e-6)
    assert known["distortion"] == pytest.approx(expected, rel=5e-3)
    assert known["elbo"] == -(known["rate"] + known["distortion"])


@pytest.mark.parametrize(("batch_size", "close"), [(500, 1e-12), (50, 1e-6)])
def test_agrees_with_a_plain_loop_over_batches_of_500(
    multi: MultiRate, data: Tensor, batch_size: int, close: float
) -> None:
    curve = run(multi, data, samples=2, seed=7, batch_size=batch_size)
    for known in curve.points:
        rates, distortions = [], []
        for batch, x in enumerate(data.split(500)):
            for sample in range(2):
                torch.manual_seed(derive_seed(7, "evaluate", batch, sample))
                with torch.no_grad():
                    terms = multi.eval().terms(x, beta=known["beta"])
                rates += terms.rate.tolist()
                distortions += terms.distortion.tolist()
        assert known["rate"] == pytest.approx(sum(rates) / len(rates), rel=close)
        assert known["distortion"] == pytest.approx(sum(distortions) / len(distortions), rel=close)


def test_a_second_run_repeats_the_first_bit_for_bit(multi: MultiRate, data: Tensor) -> None:
    assert run(multi, data) == run(multi, data)


def test_more_betas_leave_the_others_as_they_were(multi: MultiRate, data: Tensor) -> None:
    few, many = run(multi, data), run(multi, data, [0.01, *BETAS, 9.0])
    assert many.points[1:-1] == few.points


def test_all_betas_see_the_same_noise(data: Tensor) -> None:
    class Noise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = (
                nn.Sequential(nn.Linear(6, 2), nn.ReLU()),
                nn.Sequential(nn.Linear(2, 6), nn.ReLU()),
            )

        def terms(self, x: Tensor) -> Terms:
            return Terms(0 * self.encoder(x).sum(-1), torch.randn(len(x)))

    curve = run(convert(Noise(), BetaRange(0.01, 10)), data)
    assert len(set(curve.distortions.tolist())) == 1
    assert curve.distortions[0] != 0


def test_batch_size_and_order_do_not_change_the_rate(toy: LinearGaussian, data: Tensor) -> None:
    truth = run(toy, data, beta=1.0).rates[0]
    assert run(toy, data, beta=1.0, batch_size=7).rates[0] == pytest.approx(truth, rel=1e-6)
    assert run(toy, data.flip(0), beta=1.0).rates[0] == pytest.approx(truth, rel=1e-6)


def test_the_random_generator_and_the_modes_are_left_as_found(multi: MultiRate, data: Tensor) -> None:
    multi.train()
    multi.base.encoder.eval()
    modes = [module.training for module in multi.modules()]
    state = torch.get_rng_state()
    run(multi, data)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in multi.modules()] == modes
    assert all(p.grad is None for p in multi.parameters())


def test_active_units_are_counted_over_all_batches(toy: LinearGaussian, data: Tensor) -> None:
    with torch.no_grad():
        toy.encoder[1] = 0.0
    means = data @ toy.encoder.T
    active = int((means.var(0, correction=0) > 0.01).sum())
    assert active == 2
    assert run(toy, data, beta=1.0).values("active_units").tolist() == [active]
    assert "active_units" not in run(toy, data, beta=1.0, measures=()).measures


def test_a_model_without_encode_has_no_active_units(data: Tensor) -> None:
    class Bare(nn.Module):
        def terms(self, x: Tensor) -> Terms:
            return Terms(x.square().sum(-1), x.abs().sum(-1))

    assert run(Bare(), data, beta=1.0).measures == ("beta", "rate", "distortion", "elbo", "objective")


def test_a_number_of_betas_is_a_grid_over_the_range(multi: MultiRate, data: Tensor) -> None:
    assert run(multi, data, 4).betas.tolist() == pytest.approx([0.01, 0.1, 1.0, 10.0])


def test_the_curve_records_what_was_measured(multi: MultiRate, data: Tensor) -> None:
    curve = run(multi, TensorSource(data, name="toy", split="validation"), seed=3, samples=2, examples=60)
    assert (curve.label, curve.model, curve.data, curve.split) == ("multi-rate mlp", "mlp", "toy", "validation")
    assert (curve.examples, curve.seed, curve.samples) == (60, 3, 2)
    assert curve.details["likelihood"] == "gaussian"
    assert curve.details["parameters"] + curve.details["response_parameters"] == sum(
        p.numel() for p in multi.parameters()
    )
    assert curve.details["beta_range"] == [0.01, 10]


def test_a_limit_measures_the_first_examples(multi: MultiRate, data: Tensor) -> None:
    assert run(multi, data, examples=60).points == run(multi, data[:60]).points


def test_a_float64_model_gets_float64_data(multi: MultiRate, data: Tensor) -> None:
    assert run(multi.double(), data).rates.tolist() == pytest.approx(run(multi.float(), data).rates.tolist(), rel=1e-5)


def test_a_number_that_is_not_finite_names_beta_and_batch(toy: LinearGaussian, data: Tensor) -> None:
    class Diverged(LinearGaussian):
        def terms(self, x: Tensor) -> Terms:
            terms = super().terms(x)
            return Terms(terms.rate, torch.where(x[:, 0] == data[77, 0], torch.inf, terms.distortion))

    diverged = Diverged(toy.encoder.data, toy.std.data, toy.decoder.data)
    with pytest.raises(TrainingError, match=r"distortion is inf at beta 0\.5, batch 1"):
        run(diverged, data, beta=0.5)


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "beyond the range": ({"betas": [0.1, 100.0]}, BetaError, "100"),
    "twice": ({"betas": [0.1, 0.1]}, UsageError, "twice"),
    "no samples": ({"samples": 0}, UsageError, "samples"),
    "no batch": ({"batch_size": 0}, UsageError, "batch_size"),
    "no examples": ({"examples": 0}, UsageError, "examples"),
    "unknown measure": ({"measures": ("fid",)}, UsageError, "fid"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_cannot_be_right_are_refused(name: str, multi: MultiRate, data: Tensor) -> None:
    options, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        run(multi, data, **options)


def test_a_plain_model_needs_its_one_beta(toy: LinearGaussian, data: Tensor) -> None:
    for betas in (20, BETAS):
        with pytest.raises(UsageError, match="beta="):
            run(toy, data, betas)
    with pytest.raises(BetaError, match="positive"):
        run(toy, data, beta=-1.0)
    assert run(toy, data, [0.5]) == run(toy, data, beta=0.5)
    assert run(toy, data, beta=0.5).label == "beta-VAE LinearGaussian"


def test_a_module_without_terms_is_refused(data: Tensor) -> None:
    with pytest.raises(ConversionError, match="no method terms"):
        run(nn.Linear(6, 6), data, beta=1.0)


def test_an_empty_source_is_refused(multi: MultiRate, data: Tensor) -> None:
    class Empty(TensorSource):
        def __len__(self) -> int:
            return 0

    with pytest.raises(DataError, match="no examples"):
        run(multi, Empty(data, name="toy"))
