"""Choosing beta by a measure: what is chosen, what a name means, and what is said at the end of the range."""

from dataclasses import replace

import pytest

from multirate.choosing import Choice, choose_best, choose_budget, named_measure
from multirate.curve import Curve, point
from multirate.errors import UsageError

BETAS = (0.01, 0.1, 1.0, 10.0)
RATES = (60.0, 40.0, 20.0, 1.0)
DISTORTIONS = (40.0, 50.0, 75.0, 110.0)
FURTHER = {
    "mutual_information_gap": (0.1, 0.4, 0.3, 0.05),
    "active_units": (8, 8, 4, 1),
    "frechet_distance[efficientnet_lite0]": (80.0, 60.0, 50.0, 90.0),
    "kernel_distance[one]": (3.0, 2.0, 1.0, 0.5),
    "kernel_distance[my-net]": (1.0, 2.0, 3.0, 4.0),
    "constant": (2.0, 2.0, 2.0, 2.0),
}
CURVE = Curve(
    "multi-rate mlp",
    "mlp",
    "toy",
    "test",
    100,
    tuple(
        point(beta, rate, distortion, **{name: values[i] for name, values in FURTHER.items()})
        for i, (beta, rate, distortion) in enumerate(zip(BETAS, RATES, DISTORTIONS, strict=True))
    ),
)
# Measure, lowest, beta.
BEST = [
    ("elbo", False, 0.1),
    ("mutual_information_gap", False, 0.1),
    ("mutual information gap", False, 0.1),
    ("mutual-information-gap", False, 0.1),
    ("frechet_distance", True, 1.0),
    ("frechet_distance[efficientnet_lite0]", True, 1.0),
    ("kernel_distance[my-net]", True, 0.01),
    ("active_units", False, 0.01),
    ("constant", True, 0.01),
]


@pytest.mark.parametrize(("measure", "lowest", "beta"), BEST)
def test_the_best_measured_beta_is_chosen_with_what_was_measured_there(measure: str, lowest: bool, beta: float) -> None:
    choice = choose_best(CURVE, measure, lowest=lowest)
    assert choice.beta == beta
    assert choice.expected == CURVE.points[BETAS.index(beta)]


def test_a_budget_is_reached_by_interpolation() -> None:
    choice = choose_budget(CURVE, rate=30.0)
    assert 0.1 < choice.beta < 1.0
    assert choice.expected["rate"] == pytest.approx(30.0)
    assert choice.note == ""
    assert choose_budget(CURVE, distortion=75.0).beta == 1.0


def test_a_best_at_an_end_is_said_to_lie_beyond_perhaps() -> None:
    assert (
        "at the smaller end of the measured betas (0.01 to 10)"
        in choose_best(CURVE, "kernel_distance[my-net]", lowest=True).note
    )
    assert "at the larger end" in choose_best(CURVE, "kernel_distance[one]", lowest=True).note
    assert "wider range" in choose_best(CURVE, "kernel_distance[one]", lowest=True).note


def test_a_best_inside_names_its_neighbours() -> None:
    note = "the highest elbo of 4 measured betas; its neighbours are 0.01 and 1"
    assert choose_best(CURVE).note == note


def test_a_measure_that_does_not_move_is_said_so() -> None:
    two = replace(CURVE, points=CURVE.points[:2])
    for curve in (CURVE, two):
        assert choose_best(curve, "constant").note == "constant is the same at every measured beta"


def test_a_name_of_several_networks_is_refused_with_their_names() -> None:
    with pytest.raises(UsageError, match=r"name one of kernel_distance\[one\], kernel_distance\[my-net\]"):
        named_measure(CURVE, "kernel_distance")


def test_an_unknown_measure_lists_those_of_the_curve() -> None:
    with pytest.raises(UsageError, match=r"no measure 'beauty'; it has beta, rate, .*, constant$"):
        named_measure(CURVE, "beauty")


@pytest.mark.parametrize(
    ("name", "measure"),
    [("total_correlation", "decomposition"), ("marginal_kl", "decomposition"), ("log_likelihood", "log_likelihood")],
)
def test_a_measure_that_was_not_taken_names_the_evaluation_that_takes_it(name: str, measure: str) -> None:
    with pytest.raises(UsageError, match=rf"`multirate evaluate RUN --measures {measure}` gives it"):
        named_measure(CURVE, name)


def test_a_choice_has_no_note_unless_there_is_something_to_know_and_does_not_change() -> None:
    assert Choice(1.0, {}).note == ""
    one = Curve("one", "mlp", "toy", "test", 100, CURVE.points[:1])
    assert choose_best(one) == Choice(0.01, CURVE.points[0], "")


def test_notes_say_which_end_and_which_neighbours_in_three_digits() -> None:
    betas = (0.012345, 0.1, 1.0, 98.765)
    curve = Curve(
        "ours",
        "mlp",
        "toy",
        "test",
        100,
        tuple(
            point(b, r, d, fid=f) for b, r, d, f in zip(betas, RATES, DISTORTIONS, (9.0, 5.0, 4.0, 6.0), strict=True)
        ),
    )
    beyond = "of the measured betas (0.0123 to 98.8); it may lie beyond: evaluate or train with a wider range"

    assert choose_best(curve, "rate").note == f"the highest rate is at the smaller end {beyond}"
    assert choose_best(curve, "rate", lowest=True).note == f"the lowest rate is at the larger end {beyond}"
    inside = "the lowest fid of 4 measured betas; its neighbours are 0.1 and 98.8"
    assert choose_best(curve, "fid", lowest=True) == Choice(1.0, curve.points[2], inside)
    assert choose_best(curve, "elbo") == choose_best(curve)


def test_a_name_is_that_of_a_measure_before_words_or_brackets_are_looked_at() -> None:
    further = {"active_units": 3.0, "odd-name [x]": 1.0, "odd_name_[x]": 2.0}
    curve = Curve("ours", "mlp", "toy", "test", 100, (point(0.1, 1.0, 2.0, **further), point(1.0, 0.5, 3.0, **further)))

    assert named_measure(curve, "active units") == "active_units"
    assert named_measure(curve, "  active-units ") == "active_units"
    assert named_measure(curve, "odd-name [x]") == "odd-name [x]"
    assert named_measure(curve, "odd name [x]") == "odd_name_[x]"


def test_an_unknown_measure_of_a_network_names_its_measure_without_the_bracket() -> None:
    with pytest.raises(UsageError, match=r"no measure 'fid\[mine\]'.*; it has beta, rate"):
        named_measure(CURVE, "fid[mine]")
    with pytest.raises(UsageError, match="--measures frechet_distance` gives it"):
        named_measure(Curve("ours", "mlp", "toy", "test", 9, (point(0.1, 1.0, 2.0),)), "kernel_distance[x]")
    with pytest.raises(UsageError, match=r"it has beta, rate, distortion, elbo, objective$"):
        named_measure(Curve("ours", "mlp", "toy", "test", 9, (point(0.1, 1.0, 2.0),)), "beauty")
