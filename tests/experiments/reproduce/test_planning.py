"""Members in an order in which each starts after what it starts from; arms that contradict each other are refused."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tests.experiments.reproduce import tiny
from tests.experiments.reproduce.tiny import recipe_of

from multirate.errors import UsageError
from multirate.experiments.reproduce import recipes
from multirate.experiments.reproduce.planning import arms_of, candidates_of, plan, waves
from multirate.experiments.reproduce.recipe import Arm, Member
from multirate.experiments.reproduce.records import measured_path, steps_of

# Name to what it starts from, and the waves that come of it.
ORDERS: list[tuple[dict[str, str | None], list[list[str]]]] = [
    ({}, []),
    ({"a": None, "b": None}, [["a", "b"]]),
    ({"c": "b", "b": "a", "a": None, "d": None}, [["a", "d"], ["b"], ["c"]]),
    ({"b": "a", "c": "a", "a": None}, [["a"], ["b", "c"]]),
]
BROKEN = [
    ({"a": "x"}, "a starts from x, which is not a run of the recipe"),
    ({"a": "a"}, "a starts from itself"),
    ({"a": "b", "b": "c", "c": "a"}, "a starts from itself, by way of b, c"),
    ({"a": "b", "b": "c", "c": "b"}, "b"),
]
# Steps are epochs times whole batches; a batch is at most the data, of which digits has 1,297 for training.
STEPS = [({}, 2 * (192 // 64)), ({"examples": 40}, 2), ({"examples": None}, 2 * (1297 // 64)), ({"data": "x.npy"}, 6)]
OTHER_MEASUREMENTS: list[dict[str, Any]] = [
    {"split": "train"},
    {"examples": 99},
    {"samples": 2},
    {"measures": ()},
    {"recalibrate": True},
    {"options": dataclasses.replace(tiny.EVALUATION.options, importance_samples=7)},
]


def members(starts: dict[str, str | None]) -> dict[str, Member]:
    return {name: dataclasses.replace(tiny.member(name), name=name, start=start) for name, start in starts.items()}


@pytest.mark.parametrize(("starts", "order"), ORDERS)
def test_each_wave_starts_from_the_waves_before(starts: dict[str, str | None], order: list[list[str]]) -> None:
    assert waves(members(starts)) == order


@pytest.mark.parametrize(("starts", "message"), BROKEN)
def test_a_chain_that_hangs_in_the_air_is_refused(starts: dict[str, str | None], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        waves(members(starts))


@pytest.mark.parametrize(("options", "steps"), STEPS)
def test_steps_are_known_beforehand(options: dict[str, Any], steps: int) -> None:
    assert steps_of(tiny.member("a", **options)) == steps


def test_steps_of_a_file_of_unknown_size_are_unknown() -> None:
    assert steps_of(tiny.member("a", data="x.npy", examples=None)) is None


def test_a_plan_has_each_member_once_with_what_is_measured_of_it() -> None:
    tasks = plan(tiny.arms("smoke"), Path("out"), data_dir="data")
    assert len(tasks) == tiny.MEMBERS
    warm = tasks["tiny-warm-beta1-s1"]
    assert warm.folder == Path("out/runs/tiny-warm-beta1-s1")
    assert (warm.spec.start, warm.spec.data_dir) == ("out/runs/tiny-beta0.1-s1", "data")
    assert warm.evaluations == (warm.member.evaluation,)
    assert candidates_of(tiny.arms("smoke")) == {f"tiny-lr{rate:g}-s0" for rate in tiny.RATES}
    (validation,) = tasks["tiny-lr0.005-s0"].evaluations
    assert (validation.split, validation.measures, validation.examples) == ("validation", (), 100)


def test_two_runs_that_differ_may_not_share_a_name() -> None:
    other = dataclasses.replace(tiny.member("mr"), config=dataclasses.replace(tiny.CONFIG, epochs=3))
    with pytest.raises(UsageError, match="tiny-mr-s0"):
        plan((tiny.MULTI_RATE, dataclasses.replace(tiny.MULTI_RATE, label="x", seeds=(((other,),),))), Path("out"))


def test_arms_have_names_of_their_own_and_something_to_run() -> None:
    with pytest.raises(UsageError, match="tiny has two arms 'MR-VAE' in panel 'digits, one'"):
        arms_of(recipe_of(tiny.MULTI_RATE, tiny.MULTI_RATE), "smoke")
    for seeds in ((), ((),), (((),),)):
        with pytest.raises(UsageError, match="nothing to run for 'empty'"):
            arms_of(recipe_of(Arm(label="empty", panel="p", seeds=seeds)), "smoke")


@pytest.mark.parametrize("change", OTHER_MEASUREMENTS)
def test_another_measurement_has_another_file(change: dict[str, Any]) -> None:
    one, other = tiny.EVALUATION, dataclasses.replace(tiny.EVALUATION, **change)
    for member in (tiny.member("mr"), tiny.member("beta1", beta=1.0)):
        paths = {measured_path(member, Path("run"), evaluation) for evaluation in (one, other)}
        assert len(paths) == 2


def test_betas_tell_measurements_of_a_multirate_run_apart_but_not_of_a_plain_one() -> None:
    other = dataclasses.replace(tiny.EVALUATION, betas=(0.5,))
    for member, files in ((tiny.member("mr"), 2), (tiny.member("beta1", beta=1.0), 1)):
        assert len({measured_path(member, Path("run"), one) for one in (tiny.EVALUATION, other)}) == files


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_plans_at_every_scale(name: str) -> None:
    recipe = recipes.load_recipe(name)
    assert recipe.name == name
    for scale in recipe.budget:
        tasks = plan(arms_of(recipe, scale), Path("out"))
        order = waves({task.name: task.member for task in tasks.values()})
        assert sum(map(len, order)) == len(tasks)


def test_recipes_agree_on_the_runs_that_they_share() -> None:
    for scale in ("smoke", "cpu", "paper"):
        found: dict[str, Member] = {}
        for name in recipes.RECIPES:
            for task in plan(arms_of(recipes.load_recipe(name), scale), Path("out")).values():
                known = found.setdefault(task.name, task.member)
                assert (known.spec, known.config, known.start) == (
                    task.member.spec,
                    task.member.config,
                    task.member.start,
                )
