"""Factors beside latents: what is kept, what is left out, and evaluations of a model whose disentanglement is known."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from factor_cases import Sprites, grid, narrow
from multirate.beta import BetaRange
from multirate.convert import convert
from multirate.curve import Curve
from multirate.data import Source, TensorSource
from multirate.data.dsprites import COUNT, split_rows
from multirate.data.dsprites_file import grid_factors
from multirate.data.dsprites_render import FACTORS
from multirate.errors import DataError, UsageError
from multirate.evaluate import evaluate
from multirate.experiments.building import FirstExamples
from multirate.metrics.base import Batch
from multirate.metrics.factor_table import FactorTable, KnownFactors, coded
from multirate.metrics.makers import known_measures
from multirate.metrics.options import MeasureOptions
from multirate.models import mlp
from multirate.terms import Terms, diagonal_gaussian

# The first factor has one value.
SIZES = (1, 3, 4, 5)
MEASURES = ("mutual_information_gap", "dci", "factor_vae_score")
NUMBERS = {
    "mutual_information_gap",
    "dci_disentanglement",
    "dci_completeness",
    "dci_informativeness",
    "factor_vae_score",
}


class Reads(nn.Module):
    """Latents are the data's values, ten times as large: one factor each."""

    def __init__(self, has_posterior: bool = True) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.has_posterior = has_posterior

    def encode(self, x: Tensor) -> Any:
        return diagonal_gaussian(x * self.scale, torch.full_like(x, -14.0))

    def terms(self, x: Tensor) -> Terms:
        rate = x.sum(1)
        posterior = narrow((x * self.scale).double()) if self.has_posterior else None
        return Terms(rate, rate, posterior=posterior)


def measured(model: nn.Module, source: Source, measures: tuple[str, ...] = MEASURES, **options: Any) -> Curve:
    return evaluate(model, source, beta=1.0, measures=measures, progress=False, batch_size=100, **options)


def shuffled(factors: Tensor) -> Tensor:
    return factors[torch.randperm(len(factors), generator=torch.Generator().manual_seed(0))]


@pytest.fixture(scope="module")
def sprites() -> Sprites:
    return Sprites(shuffled(grid(SIZES, repeats=10)))


@pytest.fixture(scope="module")
def curve(sprites: Sprites) -> Curve:
    return measured(Reads(), sprites)


def test_a_model_with_one_latent_a_factor_scores_one_in_everything(curve: Curve) -> None:
    (point,) = curve.points
    assert {name: point[name] for name in NUMBERS} == pytest.approx(dict.fromkeys(NUMBERS, 1.0), abs=0.02)
    assert point["factor_vae_score"] == 1


@pytest.mark.parametrize("measure", MEASURES)
def test_the_record_says_which_factors_were_seen_and_which_left_out(curve: Curve, measure: str) -> None:
    settings = curve.details["measures"][measure]
    assert settings["examples"] == 600
    assert settings["factors"] == {"shape": 3, "scale": 4, "turn": 5}
    assert settings["left_out"] == ["colour"]


def test_the_curve_keeps_what_each_latent_says_of_each_factor(curve: Curve) -> None:
    for place, (name, size) in enumerate({"shape": 3, "scale": 4, "turn": 5}.items(), start=1):
        (information,), (importance,) = (
            curve.details[f"information_about_{name}"],
            curve.details[f"importance_for_{name}"],
        )
        expected = torch.zeros(4)
        expected[place] = torch.tensor(float(size)).log()
        assert information == pytest.approx(expected.tolist(), abs=1e-6)
        assert importance[place] == pytest.approx(1, abs=0.02)


def test_means_of_encode_do_where_terms_have_no_posterior(sprites: Sprites, curve: Curve) -> None:
    (point,) = measured(Reads(has_posterior=False), sprites, ("dci", "factor_vae_score")).points
    assert {name: point[name] for name in NUMBERS & set(point)} == pytest.approx(
        {name: curve.points[0][name] for name in NUMBERS & set(point)}, abs=1e-3
    )
    with pytest.raises(UsageError, match="needs the posterior of one Gaussian latent vector"):
        measured(Reads(has_posterior=False), sprites)


@pytest.mark.slow
def test_a_multi_rate_model_is_measured_at_each_beta_with_the_same_draws(sprites: Sprites) -> None:
    model = convert(mlp(shape=(4,), latents=3, hidden=(16,), likelihood="gaussian"), BetaRange(0.1, 1.0))
    both = evaluate(model, sprites, betas=[0.1, 1.0], measures=MEASURES, progress=False)
    assert set(both.measures) >= NUMBERS
    alone = evaluate(model, sprites, betas=[1.0], measures=MEASURES, progress=False)
    assert both.points[1] == alone.points[0]


def test_the_threshold_of_active_latents_is_an_option(sprites: Sprites) -> None:
    found = measured(Reads(), sprites, ("factor_vae_score",), measure_options=MeasureOptions(active_threshold=1e3))
    assert found.points[0]["factor_vae_score"] == 0
    assert found.details["measures"]["factor_vae_score"]["threshold"] == 1e3


def test_numbers_may_be_asked_for_by_name() -> None:
    assert known_measures(sorted(NUMBERS)) == ("dci", "factor_vae_score", "mutual_information_gap")


@pytest.mark.parametrize("measure", MEASURES)
def test_data_without_factors_are_refused_and_told_which_have_them(measure: str) -> None:
    with pytest.raises(UsageError, match=rf"^{measure} needs the factors .* plain does not have; use dsprites"):
        measured(Reads(), TensorSource(torch.rand(20, 4), name="plain"), (measure,))


@pytest.mark.parametrize("measure", MEASURES)
def test_first_examples_in_which_a_factor_stands_still_are_refused(measure: str) -> None:
    ordered = Sprites(grid(SIZES, repeats=10))
    with pytest.raises(DataError, match="the first 150 examples of sprites have one value of shape, which varies"):
        measured(Reads(), ordered, (measure,), examples=150)


def test_data_in_which_no_factor_varies_are_refused() -> None:
    with pytest.raises(DataError, match="no factor of sprites varies; mutual_information_gap needs one"):
        measured(Reads(), Sprites(torch.ones(20, 4, dtype=torch.int64)), MEASURES[:1])


@pytest.mark.slow
def test_the_first_examples_of_a_source_keep_its_factors(sprites: Sprites) -> None:
    few = FirstExamples(sprites, 300)
    assert few.factors is not None
    assert torch.equal(few.factors, sprites.factors[:300])
    (point,), (expected,) = measured(Reads(), few).points, measured(Reads(), sprites, examples=300).points
    assert point == expected
    with pytest.raises(UsageError, match="needs the factors"):
        measured(Reads(), FirstExamples(TensorSource(torch.rand(20, 4)), 10))


def test_the_limit_keeps_the_first_examples_and_their_own_factors() -> None:
    source = Sprites(shuffled(grid(SIZES)))
    table = FactorTable("dci", limit=25)
    model = Reads()
    for rows in torch.arange(60).split(10):
        x = source.batch(rows)
        table.update(Batch(model, 1.0, x, model.terms(x), rows, source))
    assert table.known.count == len(table.means) == 25
    assert torch.equal(table.known.values, source.factors[:25, 1:])
    torch.testing.assert_close(table.means, source.factors[:25].double(), rtol=0, atol=1e-6)
    assert table.means.dtype == torch.float64


def test_the_test_split_of_dsprites_has_every_value_and_its_grid_in_order_is_refused() -> None:
    factors = torch.from_numpy(grid_factors(np.arange(COUNT)))
    source = TensorSource(torch.zeros(COUNT, 1), name="dsprites")
    source.factors, source.factor_names = factors, tuple(FACTORS)
    drawn, ordered = KnownFactors("dci"), KnownFactors("dci")
    drawn.update(source, torch.from_numpy(split_rows("test")))
    ordered.update(source, torch.arange(20_000))

    assert drawn.settings() == {
        "examples": 10_000,
        "factors": {"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32},
        "left_out": ["colour"],
    }
    with pytest.raises(DataError, match="first 10,000 examples of dsprites have one value of shape, scale, which"):
        _ = ordered.values


def test_factors_without_names_are_numbered() -> None:
    source = TensorSource(torch.rand(4, 2))
    source.factors = torch.tensor([[0, 5], [1, 5], [0, 5], [1, 5]])
    known = KnownFactors("dci")
    known.update(source, torch.arange(4))
    assert (known.names, known.left_out) == (["factor_0"], ["factor_1"])


def test_values_are_numbered_without_gaps() -> None:
    assert coded(torch.tensor([[7, 1], [3, 1], [7, 0]], dtype=torch.int32), 3).tolist() == [[1, 1], [0, 1], [1, 0]]


BAD_FACTORS = {
    "real numbers": torch.rand(4, 2),
    "one axis": torch.arange(4),
    "other length": torch.arange(6).reshape(3, 2),
    "one value": torch.zeros(4, 1, dtype=torch.int64),
    "none": torch.zeros(4, 0, dtype=torch.int64),
}


@pytest.mark.parametrize("factors", BAD_FACTORS.values(), ids=BAD_FACTORS)
def test_what_are_no_factors_is_refused(factors: Tensor) -> None:
    with pytest.raises(DataError, match=r"factors are integers|has one value|there is no factor"):
        coded(factors, 4)


def test_factors_that_are_not_the_source_s_are_refused() -> None:
    source = TensorSource(torch.rand(4, 2), name="mine")
    for factors, found in ((torch.zeros(3, 2), r"\[3, 2\]"), ([[1, 2]], "list")):
        source.factors = factors
        with pytest.raises(DataError, match=rf"factors of mine must be a tensor \[4, F\]; got {found}"):
            KnownFactors("dci").update(source, torch.arange(4))


def test_no_examples_and_no_room_are_refused() -> None:
    with pytest.raises(DataError, match="of 0 examples"):
        _ = FactorTable("dci").means
    with pytest.raises(DataError, match="of 0 examples"):
        _ = KnownFactors("dci").values
    with pytest.raises(UsageError, match="at least 1 example; got 0"):
        KnownFactors("dci", limit=0)


@pytest.mark.parametrize("bad", [torch.rand(4), torch.rand(4, 2) / 0], ids=["one axis", "infinite"])
def test_bad_means_are_refused(bad: Tensor) -> None:
    from multirate.metrics.factor_table import checked_means

    with pytest.raises(DataError, match=r"shape \[N, Z\]|not finite"):
        checked_means(bad)
