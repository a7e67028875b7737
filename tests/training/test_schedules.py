import math

import pytest

from multirate.training.config import TrainConfig
from multirate.training.schedules import halvings, kl_weight, learning_rate_factor, warmup_steps

# Of 20 steps with 4 of warm-up; cosines at an eighth, a quarter and a half of their fall.
LEARNING_RATE = [
    ("linear", 0.4, {0: 0.25, 1: 0.5, 3: 1.0, 4: 1.0, 11: 1.0, 12: 1.0, 14: 0.75, 16: 0.5, 19: 0.125, 20: 0.0}),
    ("cosine", 0.4, {0: 0.25, 3: 1.0, 12: 1.0, 13: 0.961940, 14: 0.853553, 16: 0.5, 18: 0.146447, 20: 0.0}),
    ("linear", 1.0, {0: 0.25, 3: 1.0, 4: 1.0, 8: 0.75, 12: 0.5, 20: 0.0}),
    ("cosine", 1.0, {0: 0.25, 3: 1.0, 4: 1.0, 8: 0.853553, 12: 0.5, 20: 0.0}),
    ("linear", 0.0, {0: 0.25, 3: 1.0, 19: 1.0}),
    ("cosine", 0.0, {0: 0.25, 3: 1.0, 19: 1.0}),
]
KL_WEIGHT = [
    ("constant", {}, {0: 1.0, 50: 1.0, 99: 1.0}),
    ("linear", {"kl_warmup_fraction": 0.2}, {0: 0.0, 10: 0.5, 20: 1.0, 99: 1.0}),
    ("linear", {"kl_warmup_fraction": 0.0}, {0: 1.0}),
    ("linear", {"kl_warmup_fraction": 1.0}, {0: 0.0, 50: 0.5, 100: 1.0}),
    ("cyclical", {"kl_cycles": 4}, {0: 0.0, 5: 0.4, 12.5: 1.0, 20: 1.0, 25: 0.0, 30: 0.4, 75: 0.0, 99: 1.0}),
    ("cyclical", {"kl_cycles": 2, "kl_warmup_fraction": 0.25}, {0: 0.0, 5: 0.4, 49: 1.0, 50: 0.0, 55: 0.4}),
]


@pytest.mark.parametrize(("decay", "fraction", "points"), LEARNING_RATE)
def test_learning_rate_warms_up_stays_and_decays_through_known_points(decay, fraction, points):
    config = TrainConfig(decay=decay, decay_fraction=fraction)
    for step, factor in points.items():
        assert learning_rate_factor(step, 20, 4, config) == pytest.approx(factor, abs=1e-6), step


def test_the_default_is_a_plateau_and_a_linear_decay_over_the_last_two_fifths():
    factors = [learning_rate_factor(step, 1000, 50, TrainConfig()) for step in range(1000)]
    assert set(factors[49:601]) == {1.0}
    assert factors[601:] == pytest.approx([(1000 - step) / 400 for step in range(601, 1000)])


@pytest.mark.parametrize("decay", ("linear", "cosine"))
@pytest.mark.parametrize("fraction", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (2, 1), (7, 3), (10, 10), (10, 9)])
def test_the_factor_rises_to_one_then_falls_and_never_reaches_zero(decay, fraction, steps, warmup):
    config = TrainConfig(decay=decay, decay_fraction=fraction)
    factors = [learning_rate_factor(step, steps, warmup, config) for step in range(steps)]
    assert max(factors) == 1.0
    assert min(factors) > 0
    peak = max(warmup - 1, 0)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


@pytest.mark.parametrize("fraction", [0.0, 0.4, 1.0])
def test_without_warmup_the_first_step_is_a_full_one(fraction):
    assert learning_rate_factor(0, 10, 0, TrainConfig(decay_fraction=fraction)) == 1.0


def test_a_warmup_of_the_whole_run_ends_at_one():
    assert learning_rate_factor(9, 10, 10, TrainConfig()) == 1.0


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


def test_a_plateau_stays_at_one_after_its_warmup():
    factors = [learning_rate_factor(step, 20, 4, TrainConfig(decay="plateau")) for step in range(20)]
    assert factors == [0.25, 0.5, 0.75] + [1.0] * 17


# Objectives of each epoch, one a beta, and how often the step size is halved by then.
HALVINGS = [
    ([], 0),
    ([[5.0]], 0),
    ([[5.0], [4.0], [3.0]], 0),
    ([[5.0], [5.0]], 1),
    ([[5.0], [6.0], [5.5], [4.0], [4.5]], 3),
    ([[1.0, 9.0], [2.0, 7.0], [4.0, 5.0]], 1),
    ([[0.0], [-1.0], [math.nan]], 1),
]


@pytest.mark.parametrize(("epochs", "expected"), HALVINGS)
def test_an_epoch_whose_mean_is_not_below_all_earlier_ones_halves_the_step(epochs, expected):
    lines = [{"epoch": epoch, "objective": value} for epoch, values in enumerate(epochs) for value in values]
    assert halvings(lines) == expected


def test_cycles_are_counted_from_the_start_of_the_run():
    config = TrainConfig(kl_schedule="cyclical", kl_cycles=3, kl_warmup_fraction=0.5)
    expected = [0.0, 2 / 3, 1.0, 0.0, 2 / 3, 1.0, 0.0, 2 / 3, 1.0]
    assert [kl_weight(step, 9, config) for step in range(9)] == pytest.approx(expected, abs=1e-12)
