import pytest

from multirate.training.config import TrainConfig
from multirate.training.schedules import kl_weight, learning_rate_factor, warmup_steps

LEARNING_RATE = [(0, 0.25), (1, 0.5), (3, 1.0), (4, 1.0), (8, 0.853553), (12, 0.5), (20, 0.0)]
KL_WEIGHT = [
    ("constant", {}, {0: 1.0, 50: 1.0, 99: 1.0}),
    ("linear", {"kl_warmup_fraction": 0.2}, {0: 0.0, 10: 0.5, 20: 1.0, 99: 1.0}),
    ("linear", {"kl_warmup_fraction": 0.0}, {0: 1.0}),
    ("linear", {"kl_warmup_fraction": 1.0}, {0: 0.0, 50: 0.5, 100: 1.0}),
    ("cyclical", {"kl_cycles": 4}, {0: 0.0, 5: 0.4, 12.5: 1.0, 20: 1.0, 25: 0.0, 30: 0.4, 75: 0.0, 99: 1.0}),
    ("cyclical", {"kl_cycles": 2, "kl_warmup_fraction": 0.25}, {0: 0.0, 5: 0.4, 49: 1.0, 50: 0.0, 55: 0.4}),
]


@pytest.mark.parametrize(("step", "factor"), LEARNING_RATE)
def test_learning_rate_warms_up_and_decays_through_known_points(step, factor):
    assert learning_rate_factor(step, steps=20, warmup=4) == pytest.approx(factor, abs=1e-6)


def test_without_warmup_the_first_step_is_a_full_one():
    assert learning_rate_factor(0, steps=10, warmup=0) == 1.0


def test_a_warmup_of_the_whole_run_ends_at_one():
    assert learning_rate_factor(9, steps=10, warmup=10) == 1.0


@pytest.mark.parametrize(
    ("chosen", "steps", "expected"), [(None, 1000, 50), (None, 100_000, 500), (None, 4, 0), (7, 1000, 7), (7, 5, 5)]
)
def test_warmup_is_as_chosen_or_a_twentieth_of_the_run_up_to_500(chosen, steps, expected):
    assert warmup_steps(TrainConfig(warmup_steps=chosen), steps) == expected


@pytest.mark.parametrize(("schedule", "options", "points"), KL_WEIGHT)
def test_the_weight_of_the_rate_goes_through_known_points(schedule, options, points):
    config = TrainConfig(kl_schedule=schedule, **options)
    for step, weight in points.items():
        assert kl_weight(step, 100, config) == pytest.approx(weight)
