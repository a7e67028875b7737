"""Fig. 5: which runs there are at each scale, and that its claims can fail."""

import pytest

from multirate.experiments.reproduce import fig1, fig5, table2
from multirate.experiments.reproduce.common import PAPER_GATES
from multirate.experiments.reproduce.naming import members_of
from multirate.experiments.reproduce.recipe import SCALES, Arm, Scale
from synthetic_arms import arms_of, results

# Panels times models (multi-rate and dedicated) times step sizes times seeds, counted by hand.
RUNS = {"smoke": 2 * (2 + 2), "cpu": 4 * (2 + 4), "paper": (10 + 1) * (1 + 10) * 5 * 3 + 3 * (1 + 4) * 5 * 3}
PAPER_PANELS = {
    *(
        f"{data}, {model}"
        for data in ("MNIST", "Omniglot", "CIFAR-10", "SVHN", "CelebA")
        for model in ("ConvNet", "ResNet")
    ),
    *("Yahoo, LSTM", "MNIST, NVAE", "Omniglot, NVAE", "CelebA, NVAE"),
}


def only(label: str, more: float) -> object:
    return lambda arm: more if arm.label == label else 0.0


@pytest.mark.parametrize("scale", SCALES)
def test_there_are_as_many_runs_as_counted_by_hand(scale: Scale) -> None:
    assert len(members_of(arms_of(fig5, scale))) == RUNS[scale]


@pytest.mark.slow
def test_the_papers_panels_are_there_with_the_papers_training() -> None:
    arms = arms_of(fig5, "paper")
    assert {arm.panel for arm in arms} == PAPER_PANELS
    found = {arm.panel: arm.seeds[0][0][0] for arm in arms if arm.kind == "multi-rate"}
    image, text, deep = found["CIFAR-10, ResNet"], found["Yahoo, LSTM"], found["CelebA, NVAE"]
    assert (image.config.epochs, image.config.batch_size, image.config.decay) == (200, 128, "cosine")
    assert (image.spec.latents, image.spec.likelihood, image.spec.response) == (256, "squared_error", "paper")
    assert image.spec.range_options() == {"low": 0.01, "high": 10.0, "skew": 1.0, "margin": 1.0}
    assert (text.config.batch_size, text.config.decay) == (32, "plateau")
    assert (deep.config.optimizer, deep.config.epochs, deep.config.batch_size) == ("adamax", 400, 16)
    assert found["MNIST, NVAE"].config.batch_size == 256
    assert (found["SVHN, ConvNet"].spec.latents, found["CelebA, ConvNet"].spec.latents) == (None, 64)
    assert {member.spec.model_options for member in members_of(arms).values()} == {
        (),
        ("configuration=mnist",),
        ("configuration=celeba64",),
    }


@pytest.mark.slow
def test_multirate_models_are_measured_wherever_a_dedicated_one_is() -> None:
    for scale in SCALES:
        for recipe in (fig5, fig1, table2):
            panels: dict[str, list[Arm]] = {}
            for arm in arms_of(recipe, scale):
                panels.setdefault(arm.panel, []).append(arm)
            for arms in panels.values():
                measured = [set(arm.seeds[0][0][0].evaluation.betas) for arm in arms if arm.kind == "multi-rate"]
                asked = {c[0].spec.beta for arm in arms if arm.kind == "dedicated" for seed in arm.seeds for c in seed}
                assert all(asked <= betas for betas in measured)


@pytest.mark.slow
def test_recipes_share_runs_and_agree_on_them() -> None:
    together = members_of([*arms_of(fig5, "cpu"), *arms_of(fig1, "cpu"), *arms_of(table2, "cpu")])
    assert len(together) == 24 + 21
    assert set(members_of(arms_of(table2, "cpu"))) == set(members_of(arms_of(fig5, "cpu")))
    members_of([*arms_of(fig5, "paper"), *arms_of(fig1, "paper"), *arms_of(table2, "paper")])


def test_claims_hold_when_all_curves_are_one() -> None:
    assert all(claim.holds for claim in fig5.claims(results(fig5.RECIPE, "cpu")))


def test_a_multirate_curve_two_nats_above_fails_its_claims_alone() -> None:
    found = fig5.claims(results(fig5.RECIPE, "cpu", only(PAPER_GATES, 2.0)))
    failed = [claim for claim in found if not claim.holds]
    assert len(failed) == 4
    assert all(PAPER_GATES in claim.text and claim.ours.startswith("worst +2.00 nats") for claim in failed)


def test_the_numbers_are_the_gaps_of_each_panel() -> None:
    numbers = results(fig5.RECIPE, "cpu", only(PAPER_GATES, 2.0)).numbers
    assert set(numbers[PAPER_GATES]) == {f"{d}, {m}" for d in ("MNIST", "Omniglot") for m in ("ConvNet", "ResNet")}
    assert numbers[PAPER_GATES]["MNIST, ResNet"]["worst_gap"] == pytest.approx(2.0)
    assert len(numbers[PAPER_GATES]["MNIST, ResNet"]["gaps"]) == 4


@pytest.mark.slow
def test_the_figure_has_a_panel_for_each_data_set_and_model() -> None:
    figure = fig5.figure(results(fig5.RECIPE, "cpu"))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["MNIST, ConvNet", "MNIST, ResNet", "Omniglot, ConvNet", "Omniglot, ResNet"]
    assert all(axes.get_xlabel().startswith("rate") and axes.get_ylabel().startswith("dist") for axes in figure.axes)
