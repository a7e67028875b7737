"""The range of beta that a specification asks for."""

from typing import Any

import pytest
import torch

from multirate.beta import BetaRange
from multirate.data import as_source
from multirate.errors import BetaError, UsageError
from multirate.experiments.building import build_model
from multirate.experiments.spec import RunSpec

DATA = as_source(torch.tensor([0.0, 1.0]).repeat(8).reshape(1, 1, 4, 4))
DEFAULT = BetaRange(0.01, 10.0)
RANGES: list[tuple[dict[str, Any], BetaRange]] = [
    ({}, DEFAULT),
    ({"response": "film"}, DEFAULT),
    ({"beta_low": 0.1, "beta_high": 3.0}, BetaRange(0.1, 3.0)),
    ({"beta_skew": 2.0}, BetaRange(0.01, 10.0, skew=2.0)),
    ({"beta_margin": 1.1}, BetaRange(0.01, 10.0, margin=1.1)),
    ({"beta_skew": 1.0, "beta_margin": 1.0}, BetaRange.log_uniform(0.01, 10.0)),
    ({"response": "paper"}, BetaRange.log_uniform(0.01, 10.0)),
    ({"response": "paper", "beta_low": 0.1}, BetaRange.log_uniform(0.1, 10.0)),
    ({"response": "paper", "beta_skew": 1.7}, BetaRange(0.01, 10.0, skew=1.7, margin=1.0)),
    ({"response": "paper", "beta_margin": 1.2}, BetaRange(0.01, 10.0, skew=1.0, margin=1.2)),
]


@pytest.mark.parametrize(("options", "expected"), RANGES, ids=lambda case: str(case) if isinstance(case, dict) else "")
def test_the_range_is_as_chosen_and_log_uniform_for_the_papers_response(
    options: dict[str, Any], expected: BetaRange
) -> None:
    assert BetaRange(**RunSpec(**options).range_options()) == expected


@pytest.mark.parametrize("response", ["default", "paper"])
def test_a_model_is_built_with_the_range_of_its_specification(response: str) -> None:
    spec = RunSpec(hidden=(8,), latents=2, response=response, beta_high=4.0)
    model = build_model(spec, DATA, seed=0)
    assert model.beta_range == BetaRange(**spec.range_options())
    assert (model.response.thresholds is None) == (response == "paper")


@pytest.mark.parametrize("option", [{"beta_skew": 1.0}, {"beta_margin": 1.0}], ids=str)
def test_sampling_options_go_with_a_multirate_model_only(option: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(option))} 1.0 goes with a multi-rate model"):
        RunSpec(beta=1.0, **option)  # type: ignore[arg-type]


@pytest.mark.parametrize(("option", "message"), [({"beta_skew": 0.0}, "skew"), ({"beta_margin": 0.5}, "margin")])
def test_sampling_options_that_cannot_be_right_are_refused_when_the_range_is_made(
    option: dict[str, float], message: str
) -> None:
    spec = RunSpec(hidden=(8,), latents=2, **option)  # type: ignore[arg-type]
    with pytest.raises(BetaError, match=message):
        build_model(spec, DATA, seed=0)
