"""A number that is not finite stops a run with what, where and the last good checkpoint, and is never kept."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from multirate import models
from multirate.beta import BetaRange
from multirate.convert import convert
from multirate.data import TensorSource
from multirate.data.text import TextSource
from multirate.data.vocabulary import Vocabulary
from multirate.errors import DataError, DivergenceError, UsageError
from multirate.evaluate import evaluate
from multirate.fold import fold
from multirate.models import mlp
from multirate.seeding import seeded
from multirate.terms import Terms, bernoulli, categorical, gaussian, gaussian_kl, squared_error
from multirate.training import fit
from multirate.training.finite import about_batch, first_not_finite
from multirate.wrapper import MultiRate

STEPS = {"epochs": 3, "batch_size": 8, "seed": 0, "progress": False}
NAN, INF = float("nan"), float("inf")


def data(examples: int = 32) -> Tensor:
    return torch.rand(examples, 6, generator=torch.Generator().manual_seed(0))


def make(kind: str = "plain") -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = mlp(shape=(6,), latents=2, hidden=(8,), likelihood="gaussian")
        return model if kind == "plain" else convert(model, BetaRange(0.01, 10.0))


class Late(TensorSource):
    """Data of which some examples are not finite, as those of a source of one's own may be."""

    def __init__(self, x: Tensor, places: tuple[int, ...], value: float) -> None:
        super().__init__(x, name="late", split="train", likelihood="gaussian")
        self.places, self.value = torch.tensor(places), value

    def batch(self, indices: Tensor) -> Tensor:
        x = super().batch(indices).clone()
        x[torch.isin(indices, self.places), 2] = self.value
        return x


class Square(nn.Module):
    """One weight whose loss is finite and whose gradient is not, from the call on that is named."""

    def __init__(self, at: int | None, how: str = "sqrt") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.other = nn.Parameter(torch.ones(2))
        self.at, self.how, self.calls = at, how, 0

    def terms(self, x: Tensor) -> Terms:
        self.calls += 1
        ones = x.new_ones(x.shape[0]) * self.other.sum()
        rate = ones * self.weight.square().sum()
        if self.calls == self.at and self.how == "sqrt":
            rate = rate + (0 * self.weight).sum().sqrt()
        elif self.calls == self.at:
            rate = rate + 1e30 * (self.weight - self.weight.detach()).sum()
        return Terms(rate, ones)


def kept(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(path, weights_only=True) for path in sorted((folder / "checkpoints").glob("*.pt"))]


def all_finite(state: Any) -> bool:
    if isinstance(state, Tensor):
        return bool(state.isfinite().all()) if state.is_floating_point() else True
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return all(all_finite(part) for part in parts)


@pytest.mark.slow
@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("kind", ["plain", "multi-rate"])
@pytest.mark.parametrize("place", [0, 17, 31])
def test_data_that_are_not_finite_are_named_by_their_place(tmp_path: Path, value: float, kind: str, place: int) -> None:
    beta = r"beta 1" if kind == "plain" else r"beta in \[0.01, 10\]"
    with pytest.raises(
        DivergenceError,
        match=rf"at step [1-4] \({beta}\).*in which example {place} of the data is not finite.*remove or replace such "
        "values; the last good checkpoint is",
    ):
        fit(make(kind), Late(data(), (place,), value), out=tmp_path, **STEPS)
    assert all(all_finite(state) for state in kept(tmp_path))
    assert [state["step"] for state in kept(tmp_path)] == [0]
    assert not (tmp_path / "model").exists()


def test_data_that_are_not_finite_in_a_tensor_are_refused_at_once() -> None:
    x = data()
    x[30, 1] = NAN
    with pytest.raises(DataError, match="the first at index 30; remove or replace"):
        fit(make(), x, **STEPS)


@pytest.mark.parametrize("kind", ["plain", "multi-rate"])
def test_validation_data_that_are_not_finite_are_named(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DivergenceError, match=r"not finite after step 4: .* at .*example 13 of the data.*remove or"):
        fit(make(kind), data(), val=Late(data(20), (13,), NAN), out=tmp_path, **STEPS)
    assert all(all_finite(state) for state in kept(tmp_path))


@pytest.mark.parametrize("log_every", [1, 50])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_gradient_that_is_not_finite_is_found_by_the_next_line_or_checkpoint(
    tmp_path: Path, log_every: int, clip_norm: float | None
) -> None:
    with pytest.raises(DivergenceError) as caught:
        fit(Square(at=6), data(), out=tmp_path, log_every=log_every, clip_norm=clip_norm, **STEPS)
    message = str(caught.value)
    if clip_norm is not None:
        assert message.startswith("the norm of the gradient is nan at step 6 (beta 1), on a batch with values from 0")
    elif log_every == 1:
        assert message.startswith("weight is not finite after step 6 (beta 1): a gradient was not finite")
    else:
        assert message.startswith("the loss is nan at step 7 (beta 1), and weight is not finite now, on a batch")
    assert f"checkpoint is {tmp_path / 'checkpoints' / 'step-000000004.pt'}" in message
    assert all(all_finite(state) for state in kept(tmp_path))


def test_a_gradient_that_is_not_finite_in_the_last_step_is_found_without_a_folder() -> None:
    with pytest.raises(DivergenceError, match="weight is not finite after step 12"):
        fit(Square(at=12), data(), **STEPS)


def test_a_gradient_whose_square_overflows_would_freeze_its_weight_in_silence(tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match=r"the optimizer's exp_avg_sq of weight is not finite after step 6"):
        fit(Square(at=6, how="large"), data(), out=tmp_path, log_every=1, **STEPS)
    assert all(all_finite(state) for state in kept(tmp_path))


def test_a_weight_that_is_not_finite_at_the_start_is_refused(tmp_path: Path) -> None:
    model = make()
    with torch.no_grad():
        next(model.parameters()).view(-1)[3] = INF
    with pytest.raises(DivergenceError, match=r"encoder\S* is not finite after step 0 \(beta 1\), so"):
        fit(model, data(), out=tmp_path, **STEPS)
    assert kept(tmp_path) == []


class Statistics(Square):
    """Has running statistics that become infinite, and a mask that is so from the start."""

    def __init__(self) -> None:
        super().__init__(None)
        self.register_buffer("mask", torch.tensor([0.0, -INF]))
        self.register_buffer("running", torch.zeros(2))

    def terms(self, x: Tensor) -> Terms:
        if self.calls == 5:
            self.running.fill_(INF)
        return super().terms(x)


def test_statistics_that_become_infinite_are_found_and_masks_are_left_alone(tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match="running is not finite after step 8"):
        fit(Statistics(), data(), out=tmp_path, **STEPS)
    assert [state["step"] for state in kept(tmp_path)] == [0, 4]


def test_an_overflowing_sum_of_finite_numbers_is_no_fault() -> None:
    assert first_not_finite([("a", torch.full((4,), 2e38)), ("b", torch.zeros(0)), ("c", torch.arange(3))]) is None
    assert first_not_finite([("a", torch.zeros(2)), ("b", torch.tensor([INF, -INF]))]) == "b"


def test_a_batch_says_its_values_and_its_remedy() -> None:
    assert about_batch(torch.tensor([[0.0], [1.0]]), [4, 9]) == (
        "on a batch with values from 0 to 1",
        "lower learning_rate or set clip_norm",
    )
    assert about_batch(torch.tensor([[0.0], [100.0]]), [4, 9])[1].startswith("divide the data by a scale")
    assert about_batch(torch.tensor([[0.0], [NAN]]), [4, 9])[0] == (
        "on a batch in which example 9 of the data is not finite"
    )


# Extreme betas, precisions, and batches of one.

IMAGES = (torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0)) > 0.8).float()
SMALL = (torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()


def sentences() -> TextSource:
    tokens = np.array([5, 6, 9, 3, 7, 3, 4, 8, 1, 5, 10, 3, 3] * 3, dtype=np.int32)
    offsets = np.cumsum([0, *[4, 2, 6, 1] * 3]).astype(np.int64)
    return TextSource(tokens, offsets, Vocabulary([f"w{i}" for i in range(7)]))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "linear": (lambda: models.linear(shape=(1, 8, 8), latents=4), lambda: SMALL),
    "mlp": (lambda: models.mlp(shape=(1, 8, 8), latents=4, hidden=(16, 8)), lambda: SMALL),
    "convnet": (lambda: models.convnet(shape=(1, 28, 28), latents=4), lambda: IMAGES),
    "resnet": (lambda: models.resnet(shape=(1, 28, 28), latents=4), lambda: IMAGES),
    "lstm": (
        lambda: models.lstm((8,), latents=3, vocabulary_size=11, embedding=5, hidden=6, dropout=0.0),
        sentences,
    ),
    "nvae": (lambda: models.nvae(shape=(1, 28, 28)), lambda: IMAGES[:2]),
}
every_model = pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in MODELS])


def multi_rate(name: str, low: float = 0.01, high: float = 10.0) -> tuple[MultiRate, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return convert(MODELS[name][0](), BetaRange(low, high)), MODELS[name][1]()


def batch_of(given: Any) -> Tensor:
    return given if isinstance(given, Tensor) else given.batch(torch.arange(len(given)))


@every_model
def test_fourteen_decades_of_beta_train_and_measure_in_finite_numbers(name: str) -> None:
    model, given = multi_rate(name, 1e-8, 1e6)
    run = fit(model, given, epochs=2, batch_size=3, seed=0, progress=False, log_every=1)
    assert all(math.isfinite(line[key]) for line in run.history for key in ("loss", "rate", "distortion"))
    curve = evaluate(model, given, 5, progress=False)
    assert curve.betas[[0, -1]].tolist() == [1e-8, 1e6]
    assert (curve.rates >= -1e-3).all()
    for beta in (1e-8, 1e6):
        with seeded(3), torch.no_grad():
            gated = model.eval().terms(batch_of(given), beta=beta)
        with seeded(3), torch.no_grad():
            plain: Any = fold(model, beta).eval()
            folded = plain.terms(batch_of(given))
        assert torch.allclose(gated.rate, folded.rate, rtol=1e-3, atol=1e-2)
        assert torch.allclose(gated.distortion, folded.distortion, rtol=1e-3, atol=1e-2)


def test_betas_whose_gradients_overflow_are_refused_in_words(tmp_path: Path) -> None:
    model, given = multi_rate("mlp", 1e-30, 1e30)
    with pytest.raises(
        DivergenceError, match=r"exp_avg_sq of \S+ is not finite after step 1 \(beta in \[1e-30, 1e\+30\]"
    ):
        fit(model, given, out=tmp_path, epochs=2, batch_size=8, seed=0, progress=False, log_every=1)
    assert all(all_finite(state) for state in kept(tmp_path))


@every_model
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_gives_the_nats_of_full_precision(name: str, dtype: torch.dtype) -> None:
    model, given = multi_rate(name)
    x = batch_of(given)[:4]
    with seeded(1):
        exact = model.terms(x, beta=0.5)
    with seeded(1), torch.autocast("cpu", dtype):
        low = model.terms(x, beta=0.5)
    for part, truth in ((low.rate, exact.rate), (low.distortion, exact.distortion)):
        assert part.dtype == torch.float32
        assert part.tolist() == pytest.approx(truth.tolist(), rel=0.03, abs=0.05)
    low.objective(0.5).mean().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_terms_of_a_model_of_ones_own_are_not_computed_in_half_precision(dtype: torch.dtype) -> None:
    mean, log_variance = torch.tensor([[300.0, 0.01]], dtype=dtype), torch.tensor([[14.0, 0.01]], dtype=dtype)
    rate = gaussian_kl(mean, log_variance)
    assert rate.dtype == torch.float32
    assert bool(torch.equal(rate, gaussian_kl(mean.float(), log_variance.float())))
    assert float(rate[0, 0]) > 6e5  # beyond what float16 holds
    values, x = torch.full((1, 5000), 3.0, dtype=dtype), torch.zeros(1, 5000)
    for likelihood in (bernoulli, gaussian, squared_error):
        exact = -likelihood(values.float()).log_prob(x)
        assert bool(torch.equal(-likelihood(values).log_prob(x), exact))
    words = torch.zeros(1, 5000, 4, dtype=dtype)
    nats = -categorical(words).log_prob(torch.zeros(1, 5000, dtype=torch.int64))
    assert float(nats) == pytest.approx(5000 * math.log(4), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "mlp", "lstm"])
def test_training_in_bfloat16_stays_near_that_in_float32(name: str) -> None:
    losses = []
    for precision in ("no", "bf16"):
        model, given = multi_rate(name)
        run = fit(model, given, epochs=5, batch_size=6, seed=0, progress=False, precision=precision, device="cpu")
        losses.append(run.history[-1]["loss"])
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_float16_on_a_cpu_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="precision fp16 needs a GPU"):
        fit(make(), data(), precision="fp16", device="cpu", out=tmp_path / "run", **STEPS)
    assert not (tmp_path / "run" / "config.yaml").exists()
    assert fit(make(), data(), precision="bf16", device="cpu", **STEPS).history


@every_model
def test_a_batch_of_one_trains_or_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    model, given = multi_rate(name)
    options = {"epochs": 1, "batch_size": 1, "seed": 0, "progress": False, "out": tmp_path / "run"}
    if name == "convnet":
        before = {key: value.clone() for key, value in model.state_dict().items()}
        with pytest.raises(UsageError, match="BatchNorm cannot train on a batch of one example"):
            fit(model, given, **options)
        assert not (tmp_path / "run" / "config.yaml").exists()
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    else:
        assert math.isfinite(fit(model, given, **options).history[-1]["loss"])


@pytest.mark.parametrize("kind", ["plain", "multi-rate"])
def test_one_example_in_all_trains(kind: str) -> None:
    assert math.isfinite(fit(make(kind), data(1), **STEPS).history[-1]["loss"])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MODELS if name != "nvae"])  # whose rate depends on the noise
def test_a_partial_last_batch_weighs_as_much_as_its_examples(name: str) -> None:
    model, given = multi_rate(name)
    assert len(given) % 5 != 0
    whole, parts = (evaluate(model, given, 3, batch_size=size, progress=False, measures=()) for size in (500, 5))
    assert parts.rates == pytest.approx(whole.rates, rel=1e-6, abs=1e-6)


class Counting(nn.Module):
    """A VAE without noise, whose rate and distortion are those of the data."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(6, 1)

    def terms(self, x: Tensor) -> Terms:
        return Terms(x.sum(-1), x.square().sum(-1))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 31, 32, 33])
def test_means_do_not_depend_on_the_batch_size(batch_size: int) -> None:
    x = data().double()
    curve = evaluate(Counting().double(), x, beta=1.0, batch_size=batch_size, progress=False)
    assert curve.rates[0] == pytest.approx(float(x.sum(-1).mean()), rel=1e-6)
    assert curve.distortions[0] == pytest.approx(float(x.square().sum(-1).mean()), rel=1e-6)


def test_an_example_that_is_not_finite_is_named_by_an_evaluation() -> None:
    with pytest.raises(DataError, match="example 29 of late's train data is not finite"):
        evaluate(make("multi-rate"), Late(data(), (29,), INF), 3, batch_size=5, progress=False)
