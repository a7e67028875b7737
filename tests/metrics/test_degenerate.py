"""Data without variation, latents that say nothing, one latent and 4,096: finite numbers or a clear refusal."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.factor_cases import Sprites, grid
from torch import Tensor

from multirate.beta import BetaRange
from multirate.collapse import collapse
from multirate.convert import convert
from multirate.curve import Curve
from multirate.errors import DataError, UsageError
from multirate.evaluate import evaluate
from multirate.fold import fold
from multirate.integrations.silhouettes import silhouette_batch, silhouette_label
from multirate.metrics.frechet_distance import frechet_distance
from multirate.metrics.kernel_distance import kernel_distance
from multirate.models import mlp
from multirate.report.assemble import write_report
from multirate.report.latents import latent_rates
from multirate.training import fit
from multirate.wrapper import MultiRate

USUAL = ("active_units", "decomposition", "log_likelihood", "isometric_importance")
OF_FACTORS = ("mutual_information_gap", "dci", "factor_vae_score")
FACTORS = grid((3, 4, 5, 2), repeats=2)
CONSTANT = [
    (0.0, "bernoulli"),
    (1.0, "bernoulli"),
    (0.5, "gaussian"),
    (0.5, "gaussian_learned"),
    (0.0, "squared_error"),
]
OBJECTIVES: list[dict[str, Any]] = [
    {"objective": "beta-vae"},
    {"objective": "beta-tcvae"},
    {"objective": "dip-vae-i"},
    {"objective": "dip-vae-ii"},
    {"objective": "info-vae"},
    {"objective": "free-bits", "free_bits": 0.1},
]


def binary() -> Tensor:
    return torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0)).round()


def make(latents: int = 4, shape: tuple[int, ...] = (1, 8, 8), likelihood: str = "bernoulli") -> MultiRate:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = mlp(shape=shape, latents=latents, hidden=(16, 8), likelihood=likelihood)
        return convert(vae, BetaRange(0.01, 10.0))


def finite(curve: Curve) -> bool:
    return all(math.isfinite(value) for point in curve.points for value in point.values())


@pytest.mark.slow
@pytest.mark.parametrize(("value", "likelihood"), CONSTANT)
def test_data_that_never_vary_have_nothing_to_tell(value: float, likelihood: str) -> None:
    model, data = make(likelihood=likelihood), torch.full((40, 1, 8, 8), value)
    fit(model, data, epochs=3, batch_size=8, seed=0, progress=False)
    curve = evaluate(model, data, 4, progress=False, measures=USUAL)
    assert finite(curve)
    assert curve.values("active_units").tolist() == [0] * 4
    assert curve.values("mutual_information") == pytest.approx(np.zeros(4), abs=1e-3)
    assert curve.values("total_correlation") == pytest.approx(np.zeros(4), abs=1e-3)


def test_a_constant_column_among_others_is_no_fault() -> None:
    x = torch.rand(40, 6, generator=torch.Generator().manual_seed(0))
    x[:, 2] = 0.25
    model = make(shape=(6,), likelihood="gaussian_learned")
    fit(model, x, epochs=3, batch_size=8, seed=0, progress=False)
    assert finite(evaluate(model, x, 3, progress=False, measures=USUAL))


@pytest.mark.slow
def test_a_factor_that_never_varies_is_left_out() -> None:
    constant = FACTORS.clone()
    constant[:, 1] = 2
    model = make(shape=(4,), likelihood="gaussian")
    varying = evaluate(model, Sprites(constant), 2, progress=False, measures=OF_FACTORS)
    assert finite(varying)
    for measure in OF_FACTORS:
        with pytest.raises(DataError, match="no factor of sprites varies"):
            evaluate(model, Sprites(torch.zeros_like(FACTORS)), 2, progress=False, measures=(measure,))


@pytest.mark.slow
def test_latents_that_never_activate_score_nothing() -> None:
    model = make(shape=(4,), likelihood="gaussian")
    base: Any = model.base
    with torch.no_grad():
        for head in (base.mean, base.log_variance):
            head.weight.zero_()
            head.bias.zero_()
    fit(model, FACTORS.float() / 10, epochs=1, batch_size=60, seed=0, progress=False, learning_rate=1e-12)
    curve = evaluate(model, Sprites(FACTORS), 2, progress=False, measures=(*USUAL, *OF_FACTORS))
    assert finite(curve)
    for name in ("active_units", *[name for name in curve.measures if "dci" in name or "gap" in name]):
        assert curve.values(name) == pytest.approx(np.zeros(2), abs=1e-6)
    assert curve.values("mutual_information") == pytest.approx(np.zeros(2), abs=1e-6)
    assert collapse(curve).betas == tuple(curve.betas.tolist())


@pytest.mark.slow
@pytest.mark.parametrize("latents", [1, 4096])
def test_one_latent_and_4096_train_measure_fold_and_report(latents: int, tmp_path: Path) -> None:
    model, data = make(latents), binary()
    fit(model, data, epochs=2, batch_size=8, seed=0, progress=False)
    curve = evaluate(model, data, 3, progress=False, measures=USUAL)
    assert finite(curve)
    assert [len(row) for row in curve.details["latent_rates"]] == [latents] * 3
    assert [sum(row) for row in curve.details["latent_rates"]] == pytest.approx(
        curve.rates.tolist(), rel=1e-4, abs=1e-4
    )
    plain: Any = fold(model, 0.3).eval()
    with torch.no_grad():
        gated, folded = model.eval().terms(data, beta=0.3), plain.terms(data)
    assert torch.allclose(gated.rate, folded.rate, rtol=1e-4, atol=1e-4)
    curve.save(tmp_path / "curve.json")
    assert write_report(tmp_path).stat().st_size < 1_000_000
    assert len(latent_rates(curve).axes) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("latents", [1, 4096])
@pytest.mark.parametrize("options", OBJECTIVES, ids=[str(options["objective"]) for options in OBJECTIVES])
def test_every_objective_trains_one_latent_and_4096(latents: int, options: dict[str, Any]) -> None:
    run = fit(make(latents), binary(), epochs=1, batch_size=8, seed=0, progress=False, **options)
    assert math.isfinite(run.history[-1]["loss"])


def test_measures_that_compare_latents_refuse_a_single_one() -> None:
    with pytest.raises(UsageError, match="it needs at least 2; got 1"):
        evaluate(make(1, (4,), "gaussian"), Sprites(FACTORS), 2, progress=False, measures=("mutual_information_gap",))


def test_distances_of_features_that_never_vary_are_zero_or_their_shift() -> None:
    same = torch.full((30, 5), 2.0, dtype=torch.float64)
    assert frechet_distance(same, same) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(same, same + 3) == pytest.approx(45, rel=1e-6)
    assert kernel_distance(same, same) == pytest.approx(0, abs=1e-9)


def test_silhouettes_of_one_place_are_neutral_and_of_no_number_refused() -> None:
    labels, batches = [0, 0, 0, 1, 1, 1], [0, 1, 1, 0, 1, 1]
    assert silhouette_label(np.zeros((6, 2)), labels) == 0.5
    assert silhouette_batch(np.zeros((6, 2)), labels, batches) == 1.0
    for broken in (np.nan, np.inf):
        latents = np.zeros((6, 2))
        latents[2, 1] = broken
        with pytest.raises(UsageError, match="the latents are not finite"):
            silhouette_label(latents, labels)
        with pytest.raises(UsageError, match="the latents are not finite"):
            silhouette_batch(latents, labels, batches)
