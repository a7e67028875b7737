"""Fig. 9: which gates and hypernetworks are compared, and that its claims can fail."""

import pytest

from multirate.experiments.reproduce import fig5, fig9
from multirate.experiments.reproduce.naming import members_of
from multirate.experiments.reproduce.recipe import SCALES, Results, Scale
from synthetic_measures import measured_results, with_numbers

# Four choices of the paper, and this library's where the scale is not the paper's; step sizes times seeds.
RUNS = {"smoke": 5, "cpu": 5, "paper": 4 * 5 * 3}
RESPONSES = {
    fig9.PAPER: "paper",
    fig9.SIGMOID: "sigmoid",
    fig9.FILM: "film",
    fig9.MLP: "mlp",
    fig9.DEFAULT: "default",
}
# Nats above the default's curve, by choice; which claims hold.
CASES = {
    "all on one curve": ({}, (True, False, False)),
    "hardly behind": (dict.fromkeys(fig9.CHOICES, 0.9), (True, False, True)),
    "two nats apart": ({fig9.PAPER: 3.0, fig9.SIGMOID: 1.1, fig9.FILM: 1.5, fig9.MLP: 2.0}, (True, True, True)),
    "more than two nats apart": (
        {fig9.PAPER: 3.2, fig9.SIGMOID: 1.1, fig9.FILM: 1.5, fig9.MLP: 2.0},
        (False, True, True),
    ),
    "FiLM is best": ({fig9.PAPER: 1.1, fig9.SIGMOID: 0.5, fig9.FILM: -0.5, fig9.MLP: 0.5}, (True, True, False)),
}


def of(nats: dict[str, float]) -> Results:
    return measured_results(fig9.RECIPE, "cpu", lambda arm, beta: {}, more=lambda arm, beta: nats.get(arm.label, 0.0))


@pytest.mark.parametrize("scale", SCALES)
def test_there_are_as_many_runs_as_counted_by_hand(scale: Scale) -> None:
    assert len(members_of(fig9.arms(scale))) == RUNS[scale]


@pytest.mark.parametrize("scale", SCALES)
def test_each_choice_has_its_response_and_the_papers_draw_beta_log_uniformly(scale: Scale) -> None:
    specs = {arm.label: arm.seeds[0][0][0].spec for arm in fig9.arms(scale)}
    assert {label: spec.response for label, spec in specs.items()} == {
        label: response for label, response in RESPONSES.items() if scale != "paper" or label != fig9.DEFAULT
    }
    for label in fig9.CHOICES:
        assert specs[label].range_options() == {"low": 0.01, "high": 10.0, "skew": 1.0, "margin": 1.0}


@pytest.mark.parametrize("scale", SCALES)
def test_the_papers_gates_and_the_default_are_the_runs_of_fig5(scale: Scale) -> None:
    of_fig5, own = fig5.arms(scale), fig9.arms(scale)
    known = members_of(of_fig5)
    members_of([*of_fig5, *own])
    for arm in own:
        shared = [member.name in known for choice in arm.seeds[0] for member in choice]
        assert all(shared) if arm.label in (fig9.PAPER, fig9.DEFAULT) else not any(shared)


@pytest.mark.parametrize("name", CASES)
def test_claims_on_curves_that_are_so_many_nats_apart(name: str) -> None:
    nats, holds = CASES[name]
    assert tuple(claim.holds for claim in fig9.claims(of(nats))) == holds


def test_the_claim_names_the_best_and_the_worst_choice() -> None:
    claim = fig9.claims(of({fig9.MLP: 2.5, fig9.SIGMOID: -1.0}))[0]
    assert claim.ours.startswith("at most 3.50 nats apart")
    assert f"{fig9.SIGMOID} best, {fig9.MLP} worst; mean 3.50" in claim.ours


def test_numbers_are_the_objective_of_each_choice_and_the_spread_of_the_papers() -> None:
    numbers = with_numbers(fig9.RECIPE, of({fig9.FILM: 1.25, fig9.DEFAULT: -9.0})).numbers
    # Rate 30 and distortion 60 + 24.5 at beta 1.
    assert numbers["objective"][fig9.FILM]["1"] == pytest.approx(114.5 + 1.25)
    assert list(numbers["spread"].values()) == pytest.approx([1.25] * 10)


@pytest.mark.slow
def test_the_figure_has_all_choices_in_one_panel() -> None:
    (axes,) = fig9.figure(of({})).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(RESPONSES)
    lines = [line for line in axes.get_lines() if line.get_label() in RESPONSES]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 5
