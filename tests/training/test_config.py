import dataclasses
from typing import get_args, get_type_hints

import pytest

from multirate.errors import UsageError
from multirate.objectives.names import OBJECTIVE_NAMES, POSTERIOR_OBJECTIVES
from multirate.training.config import TrainConfig

WRONG = [
    {"epochs": 0},
    {"batch_size": 0},
    {"learning_rate": 0.0},
    {"learning_rate": float("nan")},
    {"response_learning_rate": -1.0},
    {"clip_norm": 0.0},
    {"warmup_steps": -1},
    {"checkpoint_every": 0},
    {"log_every": 0},
    {"seed": -1},
    {"beta": -0.1},
    {"beta": float("inf")},
    {"kl_schedule": "sigmoid"},
    {"decay": "exponential"},
    {"decay": 1},
    {"decay_fraction": -0.1},
    {"decay_fraction": 1.1},
    {"decay_fraction": float("nan")},
    {"decay_fraction": "0.4"},
    {"adam_beta2": 1.0},
    {"adam_beta2": -0.1},
    {"adam_beta2": float("nan")},
    {"adam_beta2": None},
    {"kl_warmup_fraction": 1.1},
    {"kl_cycles": 0},
    {"precision": "fp8"},
    {"epochs": 1.5},
    {"epochs": "3"},
    {"epochs": True},
    {"batch_size": 2.5},
    {"seed": 1.5},
    {"seed": None},
    {"warmup_steps": 2.0},
    {"learning_rate": "0.1"},
    {"learning_rate": None},
    {"clip_norm": "1"},
    {"beta": True},
    {"compile": 1},
    {"device": 0},
]


@pytest.mark.parametrize("options", WRONG, ids=str)
def test_a_value_that_cannot_be_right_is_refused_by_name(options):
    ((name, value),) = options.items()
    with pytest.raises(UsageError, match=f"{name} must be .*; got .*{value}"):
        TrainConfig(**options)


@pytest.mark.parametrize("objective", POSTERIOR_OBJECTIVES)
def test_an_objective_that_compares_examples_takes_no_batch_of_one(objective):
    TrainConfig(objective=objective, batch_size=2)
    with pytest.raises(UsageError, match=f"batch_size must be at least 2 with objective {objective}.*; got 1"):
        TrainConfig(objective=objective, batch_size=1)


def test_the_estimator_goes_with_the_total_correlation_only():
    assert TrainConfig(objective="beta-tcvae", tc_estimator="weighted").tc_estimator == "weighted"
    with pytest.raises(UsageError, match="tc_estimator weighted goes with objective beta-tcvae, not dip-vae-i"):
        TrainConfig(objective="dip-vae-i", tc_estimator="weighted")


def test_the_objectives_are_those_that_there_are():
    assert get_args(get_type_hints(TrainConfig)["objective"]) == tuple(OBJECTIVE_NAMES)


def test_a_whole_number_is_a_number():
    assert TrainConfig(learning_rate=1, beta=4, clip_norm=2, warmup_steps=None, device="cpu").beta == 4


def test_a_config_is_plain_and_frozen():
    config = TrainConfig()
    assert all(value is None or isinstance(value, int | float | str) for value in dataclasses.asdict(config).values())
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.epochs = 3
