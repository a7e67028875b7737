"""Fig. 7: distances of samples in closed form, and that the claims on them can fail."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import multirate as mr
from multirate.experiments.reproduce import fig6, fig7
from multirate.experiments.reproduce.naming import members_of
from multirate.experiments.reproduce.recipe import SCALES, Measured, Results, Scale
from multirate.experiments.run import train
from multirate.images import prior_samples

RUNS = {"smoke": 1, "cpu": 1, "paper": 2 * 5 * 3}
# Positions of seven rows on a line: distances are differences. How far draws are apart; how many claims hold.
LINES = {
    "even steps": ((0, 1, 2, 3, 4, 5, 6), 2.0, (True, True, True)),
    "one row out of place": ((0, 1, 5, 3, 4, 2, 6), 3.0, (False, False, True)),
    "draws that are all alike": ((0, 1, 2, 3, 4, 5, 6), 0.5, (True, True, False)),
    "nothing changes": ((0, 0, 0, 0, 0, 0, 0), 1.0, (False, False, True)),
}


def test_distances_of_samples_are_root_mean_squares_over_draws_and_pixels() -> None:
    images = np.random.default_rng(0).normal(size=(3, 4, 1, 2, 5)).astype(np.float32)
    apart = fig7.distances(images)
    by_hand = [
        (float(images[0, z, 0, i, j]) - float(images[2, z, 0, i, j])) ** 2
        for z in range(4)
        for i in range(2)
        for j in range(5)
    ]
    assert apart[0, 2] == pytest.approx((sum(by_hand) / 40) ** 0.5)
    assert np.array_equal(apart, apart.T)
    assert np.array_equal(np.diagonal(apart), np.zeros(3))


def test_distance_between_draws_is_the_root_mean_square_over_all_pairs() -> None:
    images = np.random.default_rng(1).normal(size=(2, 5, 3, 2, 2)).astype(np.float32)
    pairs = [np.mean((images[1, i].astype(float) - images[1, j]) ** 2) for i in range(5) for j in range(5) if i != j]
    assert fig7.between_draws(images)[1] == pytest.approx(np.mean(pairs) ** 0.5)


def with_line(positions: tuple[float, ...], draws: float) -> Results:
    (arm,) = fig7.arms("cpu")
    line = np.array(positions, dtype=float)
    numbers = {"same_draw": np.abs(line[:, None] - line).tolist(), "between_draws": [draws] * 7}
    return Results("cpu", {(arm.panel, arm.label): Measured(arm, (), ())}, {arm.panel: numbers})


@pytest.mark.parametrize("name", LINES)
def test_claims_on_rows_that_lie_on_a_line(name: str) -> None:
    positions, draws, expected = LINES[name]
    assert tuple(claim.holds for claim in fig7.claims(with_line(positions, draws))) == expected


@pytest.mark.parametrize("scale", SCALES)
def test_its_runs_are_the_multirate_ones_of_fig6(scale: Scale) -> None:
    runs = members_of(fig7.arms(scale))
    assert len(runs) == RUNS[scale]
    of_fig6 = fig6.arms(scale)
    together = members_of([*of_fig6, *fig7.arms(scale)])
    assert set(runs) <= set(members_of(of_fig6)) == set(together)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The smoke run, trained on few digits for one epoch."""
    folder: Path = tmp_path_factory.mktemp("fig7") / "run"
    (arm,) = fig7.arms("smoke")
    (member,) = members_of([arm]).values()
    spec = dataclasses.replace(member.spec, examples=128)
    train(spec, dataclasses.replace(member.config, epochs=1), folder, progress=False)
    return Results("smoke", {(arm.panel, arm.label): Measured(arm, (), ((folder,),))})


@pytest.mark.slow
def test_pictures_are_the_models_samples_at_each_beta(drawn: Results) -> None:
    ((key, measured),) = drawn.arms.items()
    images = fig7.pictures(measured)
    assert images.shape == (7, 64, 1, 28, 28)
    plain = mr.fold(mr.load(measured.folders[0][0] / "model"), fig7.BETAS[3])
    assert np.allclose(images[3], prior_samples(plain, n=64)[0], atol=1e-5)
    numbers = fig7.numbers(drawn)[key[0]]
    assert (numbers["betas"], numbers["draws"]) == (list(fig7.BETAS), 64)
    assert np.array(numbers["same_draw"]).shape == (7, 7)
    assert len(fig7.claims(drawn)) == 3


@pytest.mark.slow
def test_the_figure_has_a_row_for_each_beta(drawn: Results) -> None:
    (axes,) = fig7.figure(drawn).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"β = {beta:.2g}" for beta in fig7.BETAS]
