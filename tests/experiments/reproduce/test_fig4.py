"""Fig. 4: linear VAEs against the closed form, without sampling noise."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from multirate.evaluate import evaluate
from multirate.experiments.building import load_data
from multirate.experiments.linear import moments
from multirate.experiments.reproduce import fig4
from multirate.experiments.reproduce.common import DEDICATED, MULTI_RATE, PAPER_GATES, Setting
from multirate.experiments.reproduce.naming import members_of
from multirate.experiments.reproduce.recipe import SCALES, Arm, Measured, Results, Scale
from multirate.experiments.run import open_run, train
from multirate.models import LinearVAE
from multirate.saving import save
from multirate.theory import LinearVAE as LinearTheory
from synthetic_arms import curve

# Seeds times multi-rate models, and dedicated ones.
RUNS = {"smoke": 2 * 2 + 4, "cpu": 3 * 2 + 10, "paper": (1 + 10) * 5 * 3}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Every arm of smoke with one epoch and one seed, measured on 50 test examples."""
    folder = tmp_path_factory.mktemp("runs")
    arms = {}
    for arm in fig4.arms("smoke"):
        folders, curves = [], []
        for (member,) in arm.seeds[0]:
            path = folder / member.name
            train(member.spec, dataclasses.replace(member.config, epochs=1), path, progress=False)
            run = open_run(path)
            data = load_data(run.spec, "test")
            options: dict[str, Any] = {"beta": run.beta} if run.beta is not None else {"betas": member.evaluation.betas}
            curves.append(evaluate(run.model, data, examples=50, progress=False, **options))
            folders.append(path)
        points = tuple(p for one in curves for p in one.points)
        arms[arm.panel, arm.label] = Measured(
            arm, (dataclasses.replace(curves[0], label=arm.label, points=points),), (tuple(folders),)
        )
    found = Results("smoke", arms)
    return dataclasses.replace(found, numbers=fig4.numbers(found))


@pytest.mark.parametrize("scale", SCALES)
def test_there_are_as_many_runs_as_counted_by_hand(scale: Scale) -> None:
    assert len(members_of(fig4.arms(scale))) == RUNS[scale]


def test_it_is_the_papers_linear_vae() -> None:
    (member, *_) = members_of(fig4.arms("paper")).values()
    assert (member.spec.model, member.spec.data, member.spec.response) == ("linear", "mnist", "paper")
    assert len(member.evaluation.betas) == 10


@pytest.mark.slow
def test_no_model_is_below_the_optimum(trained: Results) -> None:
    for rows in trained.numbers["excess"].values():
        assert all(value > 0 for row in rows for value in row)


@pytest.mark.slow
def test_exact_terms_are_the_mean_of_many_samples(trained: Results) -> None:
    for label in (MULTI_RATE, DEDICATED):
        (measured,) = (one for one in trained.arms.values() if one.arm.label == label)
        run = open_run(measured.folders[0][-1])
        exact = trained.numbers["curves"][label][0]["points"][-1]
        assert exact["beta"] == 10
        found = evaluate(run.model, load_data(run.spec, "train"), beta=10.0, samples=8, progress=False).points[0]
        assert exact["rate"] == pytest.approx(found["rate"], rel=1e-5)
        assert exact["distortion"] == pytest.approx(found["distortion"], rel=2e-3)


@pytest.mark.slow
def test_a_model_put_on_the_optimum_has_no_excess(trained: Results, tmp_path: Path) -> None:
    (measured,) = (one for one in trained.arms.values() if one.arm.label == DEDICATED)
    folder = measured.folders[0][2]
    run = open_run(folder)
    mean, covariance = moments(load_data(run.spec, "train"))
    model = run.model
    assert isinstance(model, LinearVAE)
    assert run.beta == 1
    best = LinearTheory(covariance, 32, mean=mean).parameters(1.0)
    encoder, decoder, eye = model.encoder.mean, model.decoder, torch.eye(32)
    with torch.no_grad():
        first, square = encoder
        first.weight.copy_(best.encoder)
        first.bias.copy_(-best.encoder @ mean)
        square.weight.copy_(eye)
        square.bias.zero_()
        model.encoder.log_variance.weight.copy_(best.variance.log()[:, None])
        model.encoder.log_variance.bias.zero_()
        inner, outer = decoder
        inner.weight.copy_(eye)
        inner.bias.zero_()
        outer.weight.copy_(best.decoder)
        outer.bias.copy_(mean)
    copy = tmp_path / "run"
    copy.mkdir()
    (copy / "config.yaml").write_bytes((folder / "config.yaml").read_bytes())
    save(model, copy / "model")
    found = fig4.exact_points([copy], measured, mean, covariance)
    optimum = fig4.Curve.from_dict(trained.numbers["optimum"]).at(1.0)
    assert found[0]["rate"] == pytest.approx(optimum["rate"], abs=1e-4)
    assert found[0]["objective"] == pytest.approx(optimum["objective"], abs=1e-4)


@pytest.mark.slow
def test_the_figure_has_the_optimum_beneath_every_arm(trained: Results) -> None:
    (axes,) = fig4.figure(trained).axes
    _, labels = axes.get_legend_handles_labels()
    assert labels == ["exact optimum", MULTI_RATE, PAPER_GATES, DEDICATED]


def known(ours: float, theirs: float = 0.0) -> Results:
    """Return results whose curves are some nats above an optimum of rate 0 and distortion 1, 2, 3."""

    def made(more: float) -> dict[str, Any]:
        return curve({beta: (0.0, beta + more) for beta in (1.0, 2.0, 3.0)}).to_dict()

    curves = {MULTI_RATE: [made(0.0), made(ours)], DEDICATED: [made(theirs)]}
    excess = {MULTI_RATE: [[0.0] * 3, [ours] * 3], DEDICATED: [[theirs] * 3]}
    return Results("cpu", {}, {"optimum": made(0.0), "curves": curves, "excess": excess})


CLAIMS = {
    "all on the optimum": (0.0, 0.0, [True, True, True]),
    "one seed a little above": (0.2, 0.0, [False, True, True]),
    "one seed far above": (1.2, 0.0, [False, True, False]),
    "dedicated models above too": (1.2, 0.9, [False, False, True]),
}


@pytest.mark.parametrize(("ours", "theirs", "holds"), CLAIMS.values(), ids=CLAIMS)
def test_claims_hold_by_their_rule_for_the_worst_seed(ours: float, theirs: float, holds: list[bool]) -> None:
    found = fig4.claims(known(ours, theirs))
    assert [claim.holds for claim in found] == holds
    assert f"worst {'0.00' if ours == 0 else f'+{ours:.2f}'} nats at β = " in found[0].ours
    assert "of 2 seeds" in found[0].ours


def test_a_seed_more_is_one_constant_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fig4, "SEEDS", {"cpu": (0, 1, 2, 3)})
    arms: tuple[Arm, ...] = fig4.arms("cpu")
    assert [len(arm.seeds) for arm in arms] == [4, 4, 1]
    setting: Setting = fig4.setting("cpu")
    assert setting.seeds == (0, 1, 2, 3)
