"""What is said of a curve on which something does not hold: by planted faults, and nothing of a healthy one."""

import dataclasses
import logging
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import multirate as mr
from multirate.comparison import compare
from multirate.curve import Curve, point
from multirate.data import Source
from multirate.errors import BetaError
from multirate.evaluate import evaluate
from multirate.images import prior_samples, reconstructions
from multirate.integrations.model_card import Card, card_text
from multirate.integrations.torch_export import export_torch
from multirate.invariants import (
    FLOOR,
    STANDARD_ERRORS,
    checked,
    findings,
    kept_findings,
    paired_noise,
    unpaired_noise,
)
from multirate.merging import merge
from multirate.paired import GROUPS, Draws, GroupSums
from multirate.seeding import seeded
from multirate.terms import GaussianPosterior, Terms
from multirate.training import fit
from multirate.wrapper import MultiRate

BETAS = [0.01, 0.1, 1.0, 10.0]
# Of a Gaussian with unit variance and eigenvalue 40: R = log(40 / beta) / 2, D = beta / 2.
OPTIMAL = [(0.5 * math.log(40 / beta), 0.5 * beta) for beta in BETAS]
ORDERS = {"rate_order", "distortion_order", "objective_order"}


def make(pairs: Any = OPTIMAL, betas: Any = BETAS, split: str = "test", **details: Any) -> Curve:
    points = tuple(point(beta, rate, distortion) for beta, (rate, distortion) in zip(betas, pairs, strict=True))
    return Curve("a", "mlp", "toy", split, 100, points, details=details)


def names(curve: Curve) -> set[str]:
    return {finding.check for finding in findings(curve)}


def test_the_exact_optimum_has_no_findings() -> None:
    assert findings(make()) == []


def test_swapped_betas_break_every_order() -> None:
    swapped = [OPTIMAL[0], OPTIMAL[2], OPTIMAL[1], OPTIMAL[3]]
    assert names(make(swapped)) == ORDERS
    (rate,) = (finding.message for finding in findings(make(swapped)) if finding.check == "rate_order")
    assert "from 1.84444 at beta 0.1 to 2.99573 at beta 1, by 1.15 nats" in rate


def test_a_point_that_another_beats_is_named_with_the_weight() -> None:
    worse = [*OPTIMAL[:2], (OPTIMAL[2][0], OPTIMAL[2][1] + 2.0), OPTIMAL[3]]
    (finding,) = findings(make(worse))
    assert finding.check == "objective_order"
    assert finding.message.startswith(
        "at the weight 1 the point of beta 0.1 has a lower D + beta R than the one of beta 1"
    )
    assert "1 of 4 points" in finding.message


def test_a_difference_within_the_noise_is_none_and_beyond_it_is_one() -> None:
    spread = OPTIMAL[0][0] - OPTIMAL[3][0]
    for excess, found in ((0.9, set()), (1.1, {"rate_order"})):
        error = 0.1
        rise = excess * (STANDARD_ERRORS * math.hypot(error, error) + FLOOR * spread)
        pairs = [OPTIMAL[0], (OPTIMAL[2][0], OPTIMAL[1][1]), (OPTIMAL[2][0] + rise, OPTIMAL[2][1]), OPTIMAL[3]]
        curve = make(pairs, standard_errors=[[error, 10.0]] * 4)
        assert names(curve) == found


@pytest.mark.parametrize(("rate", "error", "found"), [(-0.5, 0.0, True), (-0.5, 0.2, False), (-1e-4, 0.0, False)])
def test_a_negative_rate_is_found_beyond_rounding_and_noise(rate: float, error: float, found: bool) -> None:
    curve = make([(rate, 3.0)], [1.0], standard_errors=[[error, 0.0]])
    assert ("negative_rate" in names(curve)) is found


def test_the_second_of_two_losses_may_be_negative() -> None:
    assert names(make([(-5.0, 3.0)], [1.0], rate="the second of two losses")) == set()


def test_training_data_are_named_by_split_and_by_the_record_of_the_run() -> None:
    assert names(make(split="train")) == {"training_data"}
    assert names(make(split="test", training_data="toy test")) == {"training_data"}
    assert names(make(split="test", training_data="toy train")) == set()


def test_other_objectives_are_not_held_to_an_order() -> None:
    assert names(make(OPTIMAL[::-1])) == ORDERS
    assert names(make(OPTIMAL[::-1], objective="beta-tcvae")) == set()


def test_what_training_adds_to_the_objective_counts_for_its_order() -> None:
    extra = [3.0, 2.0, 1.0, 0.0]
    pairs = [(rate, distortion - e) for (rate, distortion), e in zip(OPTIMAL, extra, strict=True)]
    assert "distortion_order" not in names(make(pairs, extra=[[e] for e in extra]))
    falling = [(rate, distortion - 3 + e) for (rate, distortion), e in zip(OPTIMAL, extra, strict=True)]
    assert "distortion_order" in names(make(falling))
    assert names(make(falling, extra=[[3 - e] for e in extra])) == set()


@pytest.mark.parametrize("entry", [[[1]], [["a", 1]] * 4, "none", [[math.nan, 0.0]] * 4, [[0.1]] * 4])
def test_standard_errors_of_another_form_are_none(entry: Any) -> None:
    assert findings(make(standard_errors=entry)) == []


def test_a_curve_of_one_scale_or_collapsed_throughout_has_no_order_to_break() -> None:
    assert findings(make([(1e-9, 90.0), (2e-9, 90.0 - 1e-4), (0.0, 90.0), (1e-9, 90.0)])) == []


def test_checked_keeps_what_was_found_and_is_stable() -> None:
    once = checked(make(OPTIMAL[::-1], split="train"))
    assert {finding.check for finding in kept_findings(once)} == ORDERS | {"training_data"}
    assert checked(once) == once
    assert len(once.warnings) == 4
    assert "warning: the rate rises" in str(once)


def test_warnings_survive_the_file_and_files_without_them_still_read(tmp_path: Path) -> None:
    once = checked(make(split="train"))
    assert Curve.load(once.save(tmp_path / "curve.json")).warnings == once.warnings
    old = Curve.load(make(OPTIMAL[::-1]).save(tmp_path / "old.json"))
    assert old.warnings == ()
    assert len(checked(old).warnings) == 3


@pytest.mark.parametrize("entry", ["text", [1], [{"check": 1}], [{"message": 3}], None, {}])
def test_warnings_of_another_form_are_none(entry: Any) -> None:
    assert make(warnings=entry).warnings == ()
    assert checked(make(warnings=entry)).details["warnings"] == []


def test_a_merged_family_is_checked_as_a_whole_and_keeps_the_warnings_of_its_parts() -> None:
    parts = [make([pair], [beta], standard_errors=[[0.01, 0.01]]) for beta, pair in zip(BETAS, OPTIMAL, strict=True)]
    healthy = merge(parts)
    assert (healthy.warnings, healthy.details["standard_errors"]) == ((), [[0.01, 0.01]] * 4)
    swapped = merge([make([pair], [beta]) for beta, pair in zip(BETAS, OPTIMAL[::-1], strict=True)])
    assert {finding.check for finding in kept_findings(swapped)} == ORDERS
    noisy = [{"check": "noise", "message": "differs"}]
    told = merge([parts[0], *(dataclasses.replace(p, details={"warnings": noisy}) for p in parts[1:])])
    assert told.warnings == ("differs",)


def test_a_comparison_notes_the_warnings_of_both_curves() -> None:
    notes = compare(make(split="train"), dataclasses.replace(make(OPTIMAL[::-1], split="train"), label="b")).notes
    assert [note.partition(":")[0] for note in notes if "trained on" in note] == ["a", "b"]
    assert any(note.startswith("b: the rate rises") for note in notes)


def test_a_model_card_tells_the_warnings_of_its_curve() -> None:
    told, silent = (card_text(untrained(), Card("me/mine", curve=make(pairs))) for pairs in (OPTIMAL[::-1], OPTIMAL))
    assert "**Mind this:** the rate rises as beta grows" in told
    assert "Mind this" not in silent


def test_paired_noise_is_the_standard_error_of_differences() -> None:
    g = np.random.default_rng(0)
    common = g.normal(size=500)
    rate = np.stack([common + 0.1 * g.normal(size=500) for _ in range(3)])
    distortion = np.stack([-2 * common + 0.1 * g.normal(size=500) for _ in range(3)])
    scale = math.sqrt(500 * 499)
    centred = [(values - values.mean(1, keepdims=True)) / scale for values in (rate, distortion)]
    betas = np.array([0.1, 1.0, 3.0])
    noise = paired_noise(*centred, betas)

    def error(values: Any) -> float:
        return float(values.std(ddof=1) / math.sqrt(500))

    assert noise.rates == pytest.approx([error(row) for row in rate])
    assert noise.rate[0, 2] == pytest.approx(error(rate[0] - rate[2]))
    assert noise.distortion[1, 0] == pytest.approx(error(distortion[1] - distortion[0]))
    objective = distortion[1] - distortion[2] + betas[1] * (rate[1] - rate[2])
    assert noise.objective[1, 2] == pytest.approx(error(objective))
    apart = unpaired_noise(np.array([[error(r), error(d)] for r, d in zip(rate, distortion, strict=True)]), betas)
    assert (apart.objective >= noise.objective).all()
    assert apart.rate[0, 1] == pytest.approx(math.hypot(error(rate[0]), error(rate[1])))


@pytest.mark.parametrize("examples", [8, 130, GROUPS, GROUPS + 1, 2 * GROUPS + 300])
def test_groups_tell_the_standard_error_of_the_mean(examples: int) -> None:
    g = torch.Generator().manual_seed(1)
    rate, distortion = torch.randn(2, examples, dtype=torch.float64, generator=g) * 3 + 100
    sums = GroupSums()
    for first in range(0, examples, 70):
        sums.add(rate[first : first + 70], distortion[first : first + 70], first)
    deviations = sums.deviations(examples, 1)
    assert deviations.shape == (2, min(examples, GROUPS))
    errors = np.sqrt(np.square(deviations).sum(1))
    truth = [float(part.std() / math.sqrt(examples)) for part in (rate, distortion)]
    assert errors == pytest.approx(truth, rel=1e-9 if examples <= GROUPS else 0.08)


def drawn(mean: float, log_variance: float, seed: int, dtype: torch.dtype = torch.float32) -> Draws:
    noise = torch.randn(20, 5, generator=torch.Generator().manual_seed(seed))
    center, spread = torch.full((20, 5), mean, dtype=dtype), torch.full((20, 5), log_variance, dtype=dtype)
    sample = center + (spread / 2).exp() * noise.to(dtype)
    return Draws(Terms(torch.zeros(20), torch.zeros(20), posterior=GaussianPosterior(center, spread, sample)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("mean", "log_variance"), [(0.0, 0.0), (3.0, -6.0), (40.0, -20.0), (-2.0, 4.0)])
def test_the_same_noise_is_known_through_rounding_and_other_noise_is_not_taken_for_it(
    mean: float, log_variance: float, dtype: torch.dtype
) -> None:
    here = drawn(0.0, 0.0, 0, dtype)
    assert not drawn(mean, log_variance, 0, dtype).differ(here)
    if dtype == torch.float64:
        assert drawn(mean, log_variance, 1, dtype).differ(here)


# Real models.


@pytest.fixture(scope="module")
def digits() -> tuple[Source, Source]:
    return mr.data.load("digits", "train"), mr.data.load("digits", "test")


def untrained() -> MultiRate:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return mr.convert(mr.models.mlp(shape=(1, 8, 8), latents=8, hidden=(64, 32)), mr.BetaRange(0.01, 10.0))


@pytest.fixture(scope="module")
def trained(digits: tuple[Source, Source]) -> MultiRate:
    model = untrained()
    fit(model, digits[0], epochs=40, seed=0, progress=False)
    return model


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING, "multirate"):
        yield caplog


def checks(curve: Curve) -> set[str]:
    return {finding.check for finding in kept_findings(curve)}


@pytest.mark.slow
def test_a_trained_model_has_no_warnings(
    trained: MultiRate, digits: tuple[Source, Source], logged: pytest.LogCaptureFixture
) -> None:
    curve = evaluate(trained, digits[1], 20, progress=False)
    assert curve.details["warnings"] == []
    assert not logged.records


@pytest.mark.slow
def test_standard_errors_are_those_of_the_examples(trained: MultiRate, digits: tuple[Source, Source]) -> None:
    curve = evaluate(trained, digits[1], [0.1, 1.0], batch_size=70, progress=False)
    for known, errors in zip(curve.points, curve.details["standard_errors"], strict=True):
        rates = []
        for batch in range(math.ceil(len(digits[1]) / 70)):
            x = digits[1].batch(torch.arange(70 * batch, min(70 * batch + 70, len(digits[1]))))
            with seeded(0, "evaluate", batch, 0), torch.no_grad():
                rates.append(trained.eval().terms(x, beta=known["beta"]).rate)
        rate = torch.cat(rates).double()
        assert errors[0] == pytest.approx(float(rate.std()) / math.sqrt(len(rate)), rel=1e-6)


@pytest.mark.slow
def test_training_data_are_named_in_the_log_too(
    trained: MultiRate, digits: tuple[Source, Source], logged: pytest.LogCaptureFixture
) -> None:
    curve = evaluate(trained, digits[0], 3, progress=False)
    assert checks(curve) == {"training_data"}
    assert [record.getMessage() for record in logged.records] == [f"{curve.label}: {curve.warnings[0]}"]


def test_an_untrained_model_is_found_out(digits: tuple[Source, Source]) -> None:
    curve = evaluate(untrained(), digits[1], 20, progress=False)
    assert {"distortion_order", "objective_order"} <= checks(curve)
    assert "19 of 20 points" in curve.warnings[1]


@pytest.mark.slow
def test_gates_that_work_the_wrong_way_are_found_out(trained: MultiRate, digits: tuple[Source, Source]) -> None:
    broken = untrained()
    broken.load_state_dict(trained.state_dict())
    with torch.no_grad():
        broken.response.weight.neg_()
    assert checks(evaluate(broken, digits[1], 20, progress=False)) & ORDERS


class OwnNoise(nn.Module):
    """A VAE that draws from a generator of its own, which nobody seeds."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 4), nn.ReLU())
        self.decoder = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
        self.generator = torch.Generator().manual_seed(0)

    def terms(self, x: Tensor) -> Terms:
        mean = self.encoder(x)
        noise = torch.randn(mean.shape, generator=self.generator)
        rate = (0.5 * mean.square()).sum(-1)
        error = (self.decoder(mean + noise) - x).square().sum(-1)
        return Terms(rate, error, posterior=GaussianPosterior(mean, torch.zeros_like(mean), mean + noise))

    def __deepcopy__(self, memo: Any) -> "OwnNoise":
        copied = OwnNoise()
        copied.load_state_dict(self.state_dict())
        return copied


def test_noise_that_is_not_seeded_is_found_out() -> None:
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = mr.convert(OwnNoise(), mr.BetaRange(0.01, 10.0))
    assert "noise" in checks(evaluate(model, x, 3, progress=False))


def test_a_seed_of_the_noise_for_each_beta_is_found_out(
    digits: tuple[Source, Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "noise" not in checks(evaluate(untrained(), digits[1], 3, progress=False))
    calls = iter(range(10**6))
    monkeypatch.setattr(sys.modules["multirate.evaluate"], "seeded", lambda *key: seeded(*key, next(calls)))
    assert "noise" in checks(evaluate(untrained(), digits[1], 3, progress=False))


class BelowZero(nn.Module):
    """A VAE whose rate lacks a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(6, 4)

    def terms(self, x: Tensor) -> Terms:
        return Terms(self.encoder(x).square().sum(-1) - 50.0, x.square().sum(-1))


def test_a_rate_below_zero_is_found_out() -> None:
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    assert checks(evaluate(BelowZero(), x, beta=1.0, progress=False)) == {"negative_rate"}


def test_few_examples_tell_no_noise_and_are_no_error(digits: tuple[Source, Source]) -> None:
    curve = evaluate(untrained(), digits[1], 3, examples=1, progress=False)
    assert "standard_errors" not in curve.details


def test_ranges_of_lambda_are_held_to_the_order_of_their_betas(digits: tuple[Source, Source]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        served = mr.BetaRange(0.1, 100.0, weighs="distortion")
        model = mr.convert(mr.models.mlp(shape=(1, 8, 8), latents=8, hidden=(64, 32)), served)
    curve = evaluate(model, digits[1], 10, progress=False)
    assert curve.betas[0] < curve.betas[-1]
    assert "objective_order" in checks(curve)
    assert [len(row) for row in curve.details["standard_errors"]] == [2] * 10


# Betas outside of what the model was trained for, by every way in.

X = torch.zeros(2, 1, 8, 8)
WAYS: dict[str, Callable[[MultiRate, float], Any]] = {
    "forward": lambda model, beta: model(X, beta=beta),
    "forward, one an example": lambda model, beta: model(X, beta=torch.tensor([1.0, beta])),
    "terms": lambda model, beta: model.terms(X, beta=beta),
    "at": lambda model, beta: model.at(beta).__enter__(),
    "fold": mr.fold,
    "evaluate": lambda model, beta: evaluate(model, X, [1.0, beta], progress=False),
    "reconstructions": lambda model, beta: reconstructions(model, X, [beta]),
    "prior_samples": lambda model, beta: prior_samples(model, [beta]),
    "torch_export": lambda model, beta: export_torch(model, "unused", example=X, beta=beta),
    "preserve_at": lambda model, beta: mr.convert(model.base, model.beta_range, preserve_at=beta),
    "Curve.at": lambda model, beta: make().at(beta),
}


@pytest.mark.parametrize("beta", [0.009, 13.6, 0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("way", WAYS)
def test_betas_outside_of_the_range_are_refused_by_every_way_in(way: str, beta: float) -> None:
    with pytest.raises(BetaError, match="beta"):
        WAYS[way](untrained(), beta)
