"""Names of runs: equal if and only if the runs are."""

import dataclasses

import pytest

from multirate.errors import UsageError
from multirate.experiments.reproduce import common, shared
from multirate.experiments.reproduce.naming import log_spaced, member_name, members_of

SETTING = shared.image_setting("omniglot", "resnet", "cpu")


def test_a_name_says_what_was_trained() -> None:
    assert member_name("mnist-resnet-w32", "beta0.1", epochs=4, seed=0) == "mnist-resnet-w32-beta0.1-4ep-s0"
    assert member_name("x", "multirate", epochs=200, seed=2, learning_rate=3e-4) == "x-multirate-200ep-lr0.0003-s2"


def test_betas_are_log_spaced_with_both_ends() -> None:
    assert log_spaced(0.01, 10.0, 4) == (0.01, 0.1, 1.0, 10.0)
    ten = log_spaced(0.01, 10.0, 10)
    assert ten[::3] == (0.01, 0.1, 1.0, 10.0)
    assert ten[1] == 0.0215443


def test_a_run_that_two_arms_share_comes_once() -> None:
    dedicated = common.dedicated_arm(SETTING, (0.1, 1.0))
    found = members_of([dedicated, common.multirate_arm(SETTING), common.dedicated_arm(SETTING, (1.0, 10.0))])
    assert list(found) == [
        "omniglot-resnet-w32-beta0.1-8ep-s0",
        "omniglot-resnet-w32-beta1-8ep-s0",
        "omniglot-resnet-w32-multirate-8ep-s0",
        "omniglot-resnet-w32-beta10-8ep-s0",
    ]


def test_two_runs_of_one_name_that_differ_are_refused() -> None:
    other = dataclasses.replace(SETTING, config=dataclasses.replace(SETTING.config, batch_size=64))
    with pytest.raises(UsageError, match="two runs that differ have the name omniglot-resnet-w32-multirate-8ep-s0"):
        members_of([common.multirate_arm(SETTING), common.multirate_arm(other)])
