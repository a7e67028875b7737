"""Sums of an evaluation over batches, worked out by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from multirate.errors import DivergenceError
from multirate.terms import Terms
from multirate.totals import DISCRETE, Totals, split_rates


def terms(rate: list[float], distortion: list[float], dtype: torch.dtype = torch.float64, **more: Any) -> Terms:
    known = {name: torch.tensor(values, dtype=dtype) for name, values in more.items()}
    return Terms(torch.tensor(rate, dtype=dtype), torch.tensor(distortion, dtype=dtype), **known)


def total_of(*batches: Terms) -> Totals:
    total, first = Totals(), 0
    for batch in batches:
        total.add(batch, "here", first)
        first += len(batch.rate)
    return total


def test_rates_and_distortions_add_up_over_batches_in_float64() -> None:
    total = total_of(terms([1.0, 2.0], [3.0, 4.0]), terms([5.0], [6.0]))

    assert (total.rate, total.distortion, total.extra) == (8.0, 13.0, None)
    assert total.point(0.5, 3, None) == pytest.approx(
        {"beta": 0.5, "rate": 8 / 3, "distortion": 13 / 3, "elbo": -7.0, "objective": 13 / 3 + 0.5 * 8 / 3}
    )
    fine = torch.tensor([2.0**24, 1.0, 1.0], dtype=torch.float32)
    assert total_of(Terms(fine, fine)).rate == total_of(Terms(fine, fine)).distortion == 2.0**24 + 2


def test_an_extra_loss_adds_up_and_is_part_of_no_distortion() -> None:
    total = total_of(terms([1.0], [2.0], extra=[10.0]), terms([1.0], [2.0], extra=[20.0]))

    assert (total.extra, total.distortion) == (30.0, 4.0)
    assert total_of(terms([1.0], [2.0]), terms([1.0], [2.0], extra=[20.0])).extra == 20.0
    fine = torch.tensor([2.0**24, 1.0, 1.0])
    assert total_of(Terms(fine, fine, extra=fine)).extra == 2.0**24 + 2


def test_groups_have_the_rate_and_the_distortion_with_its_extra_loss_of_their_examples() -> None:
    plain = total_of(terms([1.0, 5.0], [2.0, 4.0]), terms([3.0], [9.0]))
    extra = total_of(terms([1.0, 5.0], [2.0, 4.0], extra=[1.0, 0.0]), terms([3.0], [9.0], extra=[0.0]))

    # Three groups of one example each: (S_k - mean) / sqrt(2 * 3).
    root = math.sqrt(6)
    assert plain.groups.deviations(3, 1)[0].tolist() == pytest.approx([-2 / root, 2 / root, 0])
    assert plain.groups.deviations(3, 1)[1].tolist() == pytest.approx([-3 / root, -1 / root, 4 / root])
    assert extra.groups.deviations(3, 1)[1].tolist() == pytest.approx(
        [(3 - 16 / 3) / root, (4 - 16 / 3) / root, (9 - 16 / 3) / root]
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["rate", "distortion"])
def test_a_sum_that_is_not_finite_is_named_with_its_place(name: str, value: float) -> None:
    wrong = {"rate": [1.0], "distortion": [1.0]} | {name: [value]}
    total = total_of(terms([1.0], [2.0]))

    with pytest.raises(DivergenceError, match=f"^the {name} is {value} at beta 3, batch 7: the model has diverged"):
        total.add(terms(**wrong), "beta 3, batch 7", 1)
    assert (total.rate, total.distortion) == (1.0, 2.0)


WORDS = terms([1.0, 3.0], [9.0, 27.0], dimensions=[2.0, 6.0])


def test_a_text_has_nll_and_perplexity_a_word() -> None:
    found = total_of(WORDS, WORDS).point(0.5, 4, "categorical")

    assert found["nll"] == pytest.approx(20.0)
    assert found["perplexity"] == pytest.approx(math.exp(40 / 8))
    assert list(found)[5:] == ["nll", "perplexity"]


@pytest.mark.parametrize(("nats", "expected"), [(699.0, 699.0), (701.0, 700.0), (1e6, 700.0)])
def test_a_perplexity_beyond_all_numbers_is_the_greatest(nats: float, expected: float) -> None:
    found = total_of(terms([0.0], [nats], dimensions=[1.0])).point(0.5, 1, "categorical")

    assert found["perplexity"] == pytest.approx(math.exp(expected))


def test_bits_are_nats_a_dimension_over_log_two() -> None:
    for likelihood in DISCRETE:
        found = total_of(WORDS, WORDS).point(0.5, 4, likelihood)
        assert found["rate_bits_per_dim"] == pytest.approx(4 / 8 / math.log(2))
        assert found["distortion_bits_per_dim"] == pytest.approx(36 / 8 / math.log(2))
        assert list(found)[5:] == ["rate_bits_per_dim", "distortion_bits_per_dim"]
    assert DISCRETE == ("discretized_logistic",)


@pytest.mark.parametrize("likelihood", [None, "gaussian", "bernoulli", "squared_error"])
def test_other_likelihoods_have_neither(likelihood: str | None) -> None:
    assert len(total_of(WORDS).point(0.5, 2, likelihood)) == 5


def test_binary_pixels_have_bits_where_the_model_has_groups() -> None:
    grouped = terms([1.0], [9.0], dimensions=[4.0], group_rate=[[0.25, 0.75]])

    assert total_of(grouped).point(0.5, 1, "bernoulli")["rate_bits_per_dim"] == pytest.approx(0.25 / math.log(2))
    assert len(total_of(grouped).point(0.5, 1, "gaussian")) == 5


@pytest.mark.parametrize("likelihood", ["categorical", "discretized_logistic"])
def test_one_batch_without_dimensions_leaves_none(likelihood: str) -> None:
    without = terms([1.0], [2.0])

    for batches in ((without,), (WORDS, without), (without, WORDS)):
        total = total_of(*batches)
        assert total.dimensions is None
        assert len(total.point(0.5, 3, likelihood)) == 5
    nothing = total_of(terms([1.0], [2.0], dimensions=[0.0]))
    assert len(nothing.point(0.5, 1, likelihood)) == 5
    fine = torch.tensor([2.0**24, 1.0, 1.0])
    assert total_of(Terms(fine, fine, dimensions=fine)).dimensions == 2.0**24 + 2


def rated(groups: list[list[float]] | None, latents: list[list[float]] | None = None) -> Terms:
    def tensor(values: list[list[float]] | None) -> Tensor | None:
        return None if values is None else torch.tensor(values)

    zeros = torch.zeros(len(groups or latents or [[]]))
    return Terms(zeros, zeros, group_rate=tensor(groups), latent_rate=tensor(latents))


def test_rates_of_groups_and_latents_are_means_over_all_draws() -> None:
    total = total_of(rated([[1.0, 2.0], [3.0, 4.0]], [[1.0], [5.0]]), rated([[5.0, 6.0], [7.0, 8.0]], [[3.0], [7.0]]))

    assert total.rates_of("group_rates", 4) == [4.0, 5.0]
    assert total.rates_of("latent_rates", 4) == [4.0]
    fine = rated([[2.0**24], [1.0], [1.0]])
    assert total_of(fine).rates_of("group_rates", 1) == [2.0**24 + 2]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_rates_that_one_batch_lacks_are_absent(place: int) -> None:
    batches = [rated([[1.0]], [[1.0]]) for _ in range(3)]
    batches[place] = rated(None, [[2.0]])
    total = total_of(*batches)

    assert total.rates_of("group_rates", 3) is None
    assert total.rates_of("latent_rates", 3) == [pytest.approx(4 / 3)]
    assert Totals().rates_of("group_rates", 1) is None


def test_details_have_a_row_a_point_of_what_every_point_has() -> None:
    one, two = total_of(rated([[1.0, 3.0]], [[2.0]])), total_of(rated([[5.0, 7.0]]))

    assert split_rates([one, two], 1) == {"group_rates": [[1.0, 3.0], [5.0, 7.0]]}
    assert split_rates([one], 2) == {"group_rates": [[0.5, 1.5]], "latent_rates": [[1.0]]}
    assert split_rates([total_of(terms([1.0], [2.0]))], 1) == {}
