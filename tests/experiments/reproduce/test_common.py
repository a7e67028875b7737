"""Arms of a setting: what differs from arm to arm, and nothing else."""

import dataclasses
from itertools import pairwise
from typing import Any

import pytest

from multirate.experiments.reproduce import common, shared
from multirate.experiments.reproduce.recipe import Arm, Evaluation, Member
from multirate.experiments.spec import RunSpec
from multirate.training.config import TrainConfig

BETAS = (0.01, 0.1, 1.0)
SETTING = common.Setting(
    panel="digits, MLP",
    name="digits-mlp",
    spec=RunSpec(data="digits", latents=4),
    config=TrainConfig(epochs=8, warmup_steps=40),
    evaluation=Evaluation(betas=(0.01, 10.0)),
    seeds=(0, 5),
)
GRID = dataclasses.replace(SETTING, learning_rates=(1e-3, 1e-2), seeds=(0,))
ARMS = {
    "multi-rate": common.multirate_arm(SETTING),
    "dedicated": common.dedicated_arm(SETTING, BETAS),
    "annealed": common.annealed_arm(SETTING, BETAS),
    "warm-started": common.warm_started_arm(SETTING, BETAS),
    "film": common.film_arm(SETTING),
}


def members(arm: Arm) -> list[Member]:
    return [member for seed in arm.seeds for choice in seed for member in choice]


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_has_the_settings_data_and_training(name: str) -> None:
    for member in members(ARMS[name]):
        assert (member.spec.data, member.spec.latents, member.config.epochs) == ("digits", 4, 8)
    assert ARMS[name].panel == "digits, MLP"
    assert [seed[0][0].config.seed for seed in ARMS[name].seeds] == [0, 5]
    assert len({member.name for member in members(ARMS[name])}) == len(members(ARMS[name]))


def test_a_multirate_arm_is_one_model_measured_at_the_settings_betas() -> None:
    arm = ARMS["multi-rate"]
    assert (arm.kind, arm.label, arm.budget) == ("multi-rate", "MR-VAE", "8 epochs")
    assert [member.name for member in members(arm)] == ["digits-mlp-multirate-8ep-s0", "digits-mlp-multirate-8ep-s5"]
    assert {member.spec.beta for member in members(arm)} == {None}
    assert {member.evaluation.betas for member in members(arm)} == {(0.01, 10.0)}


def test_another_response_and_range_have_other_names() -> None:
    (member, _) = members(common.multirate_arm(SETTING, response="paper"))
    assert (member.name, member.spec.response) == ("digits-mlp-multirate-paper-8ep-s0", "paper")
    narrow: dict[str, Any] = {"arm": "multirate-from0.1", "spec": {"beta_low": 0.1}, "betas": (0.1, 10.0)}
    (member, _) = members(common.multirate_arm(SETTING, **narrow))
    assert (member.name, member.spec.beta_low) == ("digits-mlp-multirate-from0.1-8ep-s0", 0.1)
    assert member.evaluation.betas == (0.1, 10.0)


def test_a_dedicated_arm_is_a_plain_model_a_beta_measured_there() -> None:
    arm = ARMS["dedicated"]
    assert (arm.kind, arm.budget) == ("dedicated", "8 epochs each, 3 models")
    found = [member for (member,) in arm.seeds[0]]
    assert [member.spec.beta for member in found] == [0.01, 0.1, 1.0]
    assert [member.evaluation.betas for member in found] == [(0.01,), (0.1,), (1.0,)]
    assert found[1].name == "digits-mlp-beta0.1-8ep-s0"
    assert {member.start for member in found} == {None}


def test_fewer_epochs_have_another_name_and_their_share_of_warmup() -> None:
    (first, *_) = members(common.dedicated_arm(SETTING, BETAS, epochs=2))
    assert (first.name, first.config.epochs, first.config.warmup_steps) == ("digits-mlp-beta0.01-2ep-s0", 2, 10)


def test_annealing_changes_the_schedule_alone() -> None:
    for plain, annealed in zip(members(ARMS["dedicated"]), members(ARMS["annealed"]), strict=True):
        assert annealed.config == dataclasses.replace(plain.config, kl_schedule="linear")
        assert (annealed.spec, annealed.evaluation) == (plain.spec, plain.evaluation)
        assert annealed.name == plain.name.replace("-beta", "-anneal-beta")


def test_a_chain_starts_at_the_dedicated_model_and_goes_up() -> None:
    arm = ARMS["warm-started"]
    for seed, dedicated in zip(arm.seeds, ARMS["dedicated"].seeds, strict=True):
        links = [member for (member,) in seed]
        assert links[0] == dedicated[0][0]
        assert [link.start for link in links[1:]] == [link.name for link in links[:-1]]
        assert [link.spec.beta for link in links] == [0.01, 0.1, 1.0]
        assert not {link.name for link in links[1:]} & {member.name for (member,) in dedicated}


def test_film_draws_beta_log_uniformly() -> None:
    (member, _) = members(ARMS["film"])
    assert (member.spec.response, member.spec.range_options()["skew"]) == ("film", 1.0)
    assert member.spec.range_options()["margin"] == 1.0


def test_a_grid_gives_a_choice_of_step_sizes_and_one_step_size_to_all_weights() -> None:
    ((choice,),) = common.multirate_arm(GRID).seeds
    assert [member.name for member in choice] == [
        "digits-mlp-multirate-8ep-lr0.001-s0",
        "digits-mlp-multirate-8ep-lr0.01-s0",
    ]
    for member, rate in zip(choice, (1e-3, 1e-2), strict=True):
        assert (member.config.learning_rate, member.config.response_learning_rate) == (rate, rate)
    for member in members(common.dedicated_arm(GRID, BETAS)):
        assert member.config.response_learning_rate is None


def test_each_step_size_of_a_grid_has_a_chain_of_its_own() -> None:
    (links,) = common.warm_started_arm(GRID, BETAS).seeds
    for before, after in pairwise(links):
        assert [member.start for member in after] == [member.name for member in before]
        assert [m.config.learning_rate for m in after] == [m.config.learning_rate for m in before]


@pytest.mark.parametrize(("data", "batch", "steps"), [("mnist", 128, 3_900), ("omniglot", 128, 1_350)])
def test_the_papers_warmup_is_ten_epochs(data: str, batch: int, steps: int) -> None:
    config = shared.paper_config(data, batch_size=batch)
    assert (config.epochs, config.warmup_steps, config.decay, config.decay_fraction) == (200, steps, "cosine", 1.0)
    assert (config.optimizer, config.batch_size, config.adam_beta2) == ("adam", 128, 0.999)
