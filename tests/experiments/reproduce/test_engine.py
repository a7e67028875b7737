"""A recipe's members are trained once, measured as it says, chosen on validation data, and resumed after a kill."""

import dataclasses
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.experiments.reproduce import tiny
from tests.experiments.reproduce.tiny import RECIPE, recipe_of

from multirate.curve import Curve
from multirate.errors import DataError, TrainingError, UsageError
from multirate.experiments import run
from multirate.experiments.reproduce import running
from multirate.experiments.reproduce.engine import run_recipe
from multirate.experiments.reproduce.planning import plan
from multirate.experiments.reproduce.recipe import Arm, Results
from multirate.experiments.reproduce.tasks import run_task

pytestmark = pytest.mark.slow


def silent(text: str) -> None:
    """Drop a line."""


@dataclasses.dataclass(frozen=True)
class Finished:
    """The tiny recipe, run once; tests only read it."""

    out: Path
    results: Results
    said: list[str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out, said = tmp_path_factory.mktemp("reproduce"), []
    return Finished(out, run_recipe(RECIPE, "smoke", out, say=said.append), said)


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def points(results: Results) -> dict[tuple[str, str], list[Any]]:
    return {name: [curve.points for curve in measured.curves] for name, measured in results.arms.items()}


def arm(*members: Any, label: str = "one") -> Arm:
    return Arm(label=label, panel="p", seeds=(tuple((member,) for member in members),), kind="dedicated")


def test_each_run_is_trained_once_and_said_in_a_line(finished: Finished) -> None:
    assert len(list((finished.out / "runs").iterdir())) == tiny.MEMBERS
    assert finished.said[0] == f"tiny at scale smoke: 11 runs: {11 * tiny.STEPS} steps of training"
    lines = [line for line in finished.said if line.startswith("[")]
    assert lines[0].startswith("[1/11] tiny-mr-s0: 6 steps, ")
    assert len(lines) == tiny.MEMBERS + 1
    assert lines[-1].startswith("[1/1] tiny-lr0.005-s0: ")


def test_a_member_is_what_the_ordinary_functions_give(finished: Finished, tmp_path: Path) -> None:
    member = tiny.MULTI_RATE.seeds[1][0][0]
    run.train(member.spec, member.config, tmp_path, progress=False)
    truth = run.evaluate_run(run.open_run(tmp_path), (0.1, 1.0, 10.0), examples=100, progress=False)
    measured = finished.results.arms["digits, one", "MR-VAE"]
    assert measured.curves[1].points == truth.points
    assert measured.curves[1].label == "MR-VAE"
    assert measured.folders == tuple((finished.out / "runs" / f"tiny-mr-s{seed}",) for seed in tiny.SEEDS)


def test_dedicated_models_are_joined_one_curve_a_seed(finished: Finished) -> None:
    measured = finished.results.arms["digits, one", "β-VAE"]
    for seed, curve in zip(tiny.SEEDS, measured.curves, strict=True):
        singles = [
            Curve.load(finished.out / "runs" / f"tiny-beta{beta}-s{seed}" / "curve.json") for beta in ("0.1", "1")
        ]
        assert curve.points == tuple(single.points[0] for single in singles)
        assert curve.details["training_seed"] == seed
    assert finished.results.arms["two", "β-VAE"].curves == measured.curves


def test_a_warm_started_member_starts_from_the_weights_of_the_one_before(finished: Finished) -> None:
    document = yaml.safe_load((finished.out / "runs" / "tiny-warm-beta1-s1" / "config.yaml").read_text())
    assert document["run"]["start"] == str(finished.out / "runs" / "tiny-beta0.1-s1")
    warm, cold = (finished.results.arms["digits, one", label].curves[1] for label in ("β-VAE (warm)", "β-VAE"))
    assert warm.points[0] == cold.points[0]
    assert warm.points[1]["objective"] < cold.points[1]["objective"]


def test_the_candidate_of_least_validation_objective_is_taken(finished: Finished) -> None:
    measured = finished.results.arms["two", "the best"]
    assert [folder.name for (folder,) in measured.folders] == ["tiny-lr0.005-s0"]
    scores = json.loads((finished.out / "tiny" / "smoke" / "numbers.json").read_text())["candidates"]
    assert scores["tiny-lr1e+30-s0"] is None
    assert scores["tiny-lr0.005-s0"] < scores["tiny-lr1e-07-s0"]
    run.open_run(finished.out / "runs" / "tiny-lr0.005-s0")
    one = finished.out / "runs" / "tiny-lr1e-07-s0"
    truth = run.evaluate_run(run.open_run(one), split="validation", examples=100, measures=(), progress=False)
    assert scores["tiny-lr1e-07-s0"] == truth.points[0]["objective"]


def test_only_the_best_candidate_is_measured_on_the_test_split(finished: Finished) -> None:
    names = {
        rate: sorted(
            path.name.partition("-")[0] for path in (finished.out / "runs").glob(f"tiny-lr{rate}-*/measured/*")
        )
        for rate in ("0.005", "1e-07", "1e+30")
    }
    assert names == {"0.005": ["test", "validation"], "1e-07": ["validation"], "1e+30": []}


def test_a_second_call_trains_and_measures_nothing(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    before, said = times(finished.out / "runs"), []
    monkeypatch.setattr(run, "train", None)
    monkeypatch.setattr(run, "evaluate_run", None)
    again = run_recipe(RECIPE, "smoke", finished.out, say=said.append)
    assert times(finished.out / "runs") == before
    assert points(again) == points(finished.results)
    assert said[0] == "tiny at scale smoke: 11 runs, 10 of them done already"
    assert said[1].startswith("[11/11] tiny-lr1e+30-s0: diverged: ")


def test_another_measurement_leaves_training_and_the_first_one_alone(tmp_path: Path) -> None:
    plain = tiny.member("beta1", beta=1.0)
    threshold = dataclasses.replace(plain.evaluation.options, active_threshold=1e9)
    other = dataclasses.replace(plain.evaluation, options=threshold)
    first = run_recipe(recipe_of(arm(plain)), "smoke", tmp_path, say=silent).arms["p", "one"]
    model = times(tmp_path / "runs" / plain.name / "model")
    changed = recipe_of(arm(dataclasses.replace(plain, evaluation=other)))
    second = run_recipe(changed, "smoke", tmp_path, say=silent).arms["p", "one"]
    assert (first.curve.points[0]["active_units"], second.curve.points[0]["active_units"]) == (3, 0)
    assert times(tmp_path / "runs" / plain.name / "model") == model
    assert len(list((tmp_path / "runs" / plain.name / "measured").iterdir())) == 2
    assert run_recipe(recipe_of(arm(plain)), "smoke", tmp_path, say=silent).arms["p", "one"].curve == first.curve


def test_a_member_is_trained_and_measured_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    evaluate_run, train = run.evaluate_run, run.train

    def measuring(done: run.FinishedRun, betas: Any, **options: Any) -> Curve:
        given.update(options, betas=betas)
        return evaluate_run(done, betas, examples=options["examples"], progress=False)

    def training(*about: Any, **options: Any) -> Any:
        given.update(options)
        return train(*about, **options)

    monkeypatch.setattr(run, "evaluate_run", measuring)
    monkeypatch.setattr(run, "train", training)
    member = tiny.member("mr", decay="plateau")
    asked = dataclasses.replace(
        member.evaluation, samples=3, recalibrate=True, measures=("decomposition",), split="train"
    )
    one = arm(dataclasses.replace(member, evaluation=asked))
    run_recipe(recipe_of(one), "smoke", tmp_path, data_dir=str(tmp_path), say=silent)
    assert (given["samples"], given["recalibrate"], given["split"]) == (3, True, "train")
    assert (given["betas"], given["measures"], given["measure_options"]) == (
        asked.betas,
        ("decomposition",),
        asked.options,
    )
    assert (given["data_dir"], given["validate"], given["resume"]) == (str(tmp_path), True, True)


def test_a_lost_model_is_made_again(tmp_path: Path) -> None:
    import shutil

    recipe = recipe_of(arm(tiny.member("beta1", beta=1.0)))
    first = run_recipe(recipe, "smoke", tmp_path, say=silent)
    shutil.rmtree(tmp_path / "runs")
    assert points(run_recipe(recipe, "smoke", tmp_path, say=silent)) == points(first)
    shutil.rmtree(tmp_path / "runs" / "tiny-beta1-s0" / "model")
    run_recipe(recipe, "smoke", tmp_path, say=silent)
    assert (tmp_path / "runs" / "tiny-beta1-s0" / "model").is_dir()


def test_a_run_of_other_options_in_its_place_is_refused(tmp_path: Path) -> None:
    plain = tiny.member("beta1", beta=1.0)
    run_recipe(recipe_of(arm(plain)), "smoke", tmp_path, say=silent)
    other = dataclasses.replace(plain, config=dataclasses.replace(plain.config, clip_norm=1.0))
    with pytest.raises(TrainingError, match=r"tiny-beta1-s0: cannot resume .*clip_norm"):
        run_recipe(recipe_of(arm(other)), "smoke", tmp_path, say=silent)


def test_a_failure_stops_no_other_member_and_the_same_call_mends_it(tmp_path: Path) -> None:
    import numpy as np

    rows = tmp_path / "rows.npy"
    bad = tiny.member("bad", beta=0.1, data=str(rows))
    after = tiny.member("after", beta=1.0, data=str(rows), start=bad.name)
    good = tiny.member("good", beta=0.1)
    recipe = recipe_of(arm(bad, after), arm(good, label="two"))
    said: list[str] = []
    with pytest.raises(TrainingError, match="2 runs failed, and the same command goes on with them alone") as raised:
        run_recipe(recipe, "smoke", tmp_path, say=said.append)
    assert f"{bad.name}: no file or folder {rows}" in str(raised.value)
    assert f"{after.name}: not begun, for it starts from {bad.name}" in str(raised.value)
    assert (tmp_path / "runs" / good.name / "curve.json").exists()
    assert not (tmp_path / "tiny").exists()
    np.save(rows, np.random.default_rng(0).normal(size=(400, 5)).astype("float32"))
    before = times(tmp_path / "runs" / good.name)
    assert run_recipe(recipe, "smoke", tmp_path, say=silent).arms["p", "one"].curve.data == "rows"
    assert times(tmp_path / "runs" / good.name) == before


def test_a_grid_whose_candidates_all_diverge_is_an_error(tmp_path: Path) -> None:
    lost = Arm(label="lost", panel="p", seeds=(tiny.grid((1e30, 1e31)),))
    with pytest.raises(TrainingError, match=r"every candidate diverged: tiny-lr1e\+30-s0, tiny-lr1e\+31-s0"):
        run_recipe(recipe_of(lost), "smoke", tmp_path, say=silent)


def test_what_starts_from_a_diverged_candidate_is_lost_with_it(tmp_path: Path) -> None:
    first = tiny.grid((5e-3, 1e30))[0]
    second = tuple(tiny.member(f"warm{i}", beta=2.0, start=one.name) for i, one in enumerate(first))
    chain = Arm(label="chain", panel="p", seeds=((first, second),), kind="dedicated")
    results = run_recipe(recipe_of(chain), "smoke", tmp_path, say=silent)
    assert [folder.name for folder in results.arms["p", "chain"].folders[0]] == ["tiny-lr0.005-s0", "tiny-warm0-s0"]
    assert not (tmp_path / "runs" / "tiny-warm1-s0").exists()


def test_a_single_run_that_diverges_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"1 run failed, .* alone: tiny-wild-s0: the loss is"):
        run_recipe(recipe_of(arm(tiny.member("wild", beta=1.0, learning_rate=1e30))), "smoke", tmp_path, say=silent)


def test_what_diverged_is_tried_again_unless_there_are_others_to_choose_from(tmp_path: Path) -> None:
    recipe = recipe_of(arm(tiny.member("wild", beta=1.0, learning_rate=1e30)))
    for _ in range(2):
        said: list[str] = []
        with pytest.raises(TrainingError, match="tiny-wild-s0: the loss is"):
            run_recipe(recipe, "smoke", tmp_path, say=said.append)
    # A line with the loss, as before, and not one that leaves the run out for what is known of it.
    assert [line.partition(": ")[0] for line in said] == ["tiny at scale smoke", "[1/1] tiny-wild-s0"]
    note = tmp_path / "runs" / "tiny-wild-s0" / "diverged.json"
    note.write_text(note.read_text().replace("the loss is", "it was said that the loss is"))
    with pytest.raises(TrainingError, match="tiny-wild-s0: the loss is"):
        run_recipe(recipe, "smoke", tmp_path, say=silent)


def test_a_note_of_divergence_is_of_those_options_alone(tmp_path: Path) -> None:
    from multirate.experiments.reproduce.records import divergence, note_divergence

    member = tiny.member("a", beta=1.0)
    note_divergence(member, tmp_path, "the loss is nan")
    assert divergence(member, tmp_path) == "the loss is nan"
    for other in (
        tiny.member("a", beta=2.0),
        tiny.member("a", beta=1.0, start="b"),
        tiny.member("a", beta=1.0, seed=1),
    ):
        assert divergence(other, tmp_path) is None


def test_a_run_waits_for_another_process_that_works_on_it(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    (task,) = plan((arm(tiny.member("beta1", beta=1.0)),), tmp_path).values()
    task.folder.mkdir(parents=True)
    with (task.folder / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        worker = threading.Thread(target=run_task, args=(task,))
        worker.start()
        worker.join(0.3)
        assert worker.is_alive()
        assert not (task.folder / "config.yaml").exists()
    worker.join()
    assert task.done


def test_a_killed_process_is_a_failure_of_what_it_had_not_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from concurrent.futures.process import BrokenProcessPool

    tasks = list(plan((arm(tiny.member("a", beta=1.0), tiny.member("b", beta=2.0)),), tmp_path).values())

    def dying(function: Any, items: Any, jobs: int, *, ordered: bool) -> Iterator[Any]:
        yield running.Outcome(name=items[0].name)
        raise BrokenProcessPool("killed")

    monkeypatch.setattr(running, "in_processes", dying)
    first, second = running.outcomes(tasks, jobs=2)
    assert first.failure is None
    assert second.name == "tiny-b-s0"
    assert "use fewer --jobs" in str(second.failure)


@pytest.mark.parametrize(("scale", "jobs"), [("huge", 1), ("smoke", 0)])
def test_what_makes_no_sense_is_refused(scale: Any, jobs: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"huge|jobs"):
        run_recipe(RECIPE, scale, tmp_path, jobs=jobs)


def test_no_figure_is_written_where_numbers_cannot_be(tmp_path: Path) -> None:
    broken = dataclasses.replace(
        recipe_of(arm(tiny.member("a", beta=1.0))), numbers=lambda results: {"x": float("nan")}
    )
    with pytest.raises(DataError, match=r"numbers\.json"):
        run_recipe(broken, "smoke", tmp_path, say=silent)


@pytest.mark.slow
def test_processes_give_what_one_gives(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from multirate.experiments import parallel

    monkeypatch.setattr(parallel.os, "cpu_count", lambda: 2)
    two = points(run_recipe(recipe_of(tiny.MULTI_RATE, tiny.WARM), "smoke", tmp_path, jobs=2, say=silent))
    assert two == {name: curves for name, curves in points(finished.results).items() if name in two}
    assert len(two) == 2


@pytest.mark.slow
def test_a_cluster_gives_what_one_process_gives(finished: Finished, tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'multirate[slurm]'")
    from multirate.experiments.reproduce.cluster import cluster_executor

    bad = tiny.member("bad", beta=1.0, data=str(tmp_path / "none.npy"))
    recipe = recipe_of(dataclasses.replace(tiny.MULTI_RATE, seeds=tiny.MULTI_RATE.seeds[:1]), arm(bad))
    executor = cluster_executor(tmp_path / "logs", cluster="local")
    with pytest.raises(TrainingError, match=r"1 run failed.*tiny-bad-s0: no "):
        run_recipe(recipe, "smoke", tmp_path, executor=executor, say=silent)
    curve = Curve.load(tmp_path / "runs" / "tiny-mr-s0" / "curve.json")
    assert curve.points == finished.results.arms["digits, one", "MR-VAE"].curves[0].points
