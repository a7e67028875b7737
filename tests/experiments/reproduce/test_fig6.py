"""Fig. 6: which runs there are, and that its claims on active units and Frechet distances can fail."""

import pytest

from multirate.experiments.reproduce import fig5, fig6
from multirate.experiments.reproduce.common import DEDICATED, MULTI_RATE, PAPER_GATES
from multirate.experiments.reproduce.naming import members_of
from multirate.experiments.reproduce.recipe import SCALES, Arm, Results, Scale
from synthetic_measures import measured_results, with_numbers

LITE0 = "frechet_distance[efficientnet_lite0]"
# Panels times models (multi-rate, dedicated) times step sizes times seeds, counted by hand.
RUNS = {"smoke": (2 + 2) + (1 + 2), "cpu": (2 + 4) + (1 + 4), "paper": 3 * (1 + 10) * 5 * 3}


def numbers(units: float = 0.0, frechet: float = 1.0, label: str = MULTI_RATE, beta: float = 1.0):
    """Return numbers that agree between all arms but for one arm at one beta."""

    def of(arm: Arm, at: float) -> dict[str, float]:
        here = arm.label == label and at == beta
        found = {"active_units": 20 - 6 * at**0.2 + (units if here else 0)}
        if "frechet_distance" in arm.seeds[0][0][0].evaluation.measures:
            of_samples = (100 + 20 * at**0.3) * (frechet if here else 1)
            found |= {LITE0: of_samples, f"reconstruction_{LITE0}": 50 + 20 * at**0.3}
        return found

    return of


def failed(results: Results) -> list[str]:
    return [claim.text for claim in fig6.claims(results) if not claim.holds]


@pytest.mark.parametrize("scale", SCALES)
def test_there_are_as_many_runs_as_counted_by_hand(scale: Scale) -> None:
    assert len(members_of(fig6.arms(scale))) == RUNS[scale]


@pytest.mark.parametrize("scale", SCALES)
def test_runs_that_fig5_has_too_are_trained_alike(scale: Scale) -> None:
    known, own = members_of(fig5.arms(scale)), members_of(fig6.arms(scale))
    assert len(set(own) - set(known)) == {"smoke": 3, "cpu": 5, "paper": 0}[scale]
    shared = [(own[name], known[name]) for name in own if name in known]
    assert all((one.spec, one.config) == (other.spec, other.config) for one, other in shared)
    assert all(one == other for one, other in shared if one.spec.data in ("digits", "omniglot"))


def test_the_papers_panels_have_the_papers_data_and_fid() -> None:
    arms = fig6.arms("paper")
    assert list(dict.fromkeys(arm.panel for arm in arms)) == ["Omniglot, ResNet", "SVHN, ResNet", "CelebA, ResNet"]
    colour = [m for m in members_of(arms).values() if m.spec.data in ("svhn", "celeba")]
    assert {m.evaluation.options.feature_network for m in colour} == {"inception"}
    assert {m.evaluation.measures for m in colour} == {("active_units", "frechet_distance")}
    assert {m.config.epochs for m in colour} == {200}


def test_faces_are_found_below_the_folder_of_the_data_and_cut_as_celeba_is() -> None:
    (setting,) = fig6.colour_settings("cpu")
    assert setting.spec.data == "celeba/celeba_8k_89x109_jpeg.zip"
    assert setting.spec.loader_options() == {"crop": 74, "size": 64}
    assert (setting.spec.latents, setting.spec.likelihood, setting.config.batch_size) == (64, "squared_error", 128)
    betas = setting.evaluation.betas
    assert {0.01, 0.1, 1.0, 10.0} <= set(betas)


def test_claims_hold_when_all_arms_agree_and_units_fall() -> None:
    results = measured_results(fig6.RECIPE, "cpu", numbers())
    # Units of two multi-rate and one dedicated arm, then of one and one; agreement with the dedicated; distances.
    assert len(fig6.claims(results)) == 3 + 2 + 2 + 1 + 4
    assert failed(results) == []


def test_units_that_differ_by_more_than_four_fail_one_claim_and_their_rise_another() -> None:
    found = failed(measured_results(fig6.RECIPE, "cpu", numbers(units=5.0, label=PAPER_GATES)))
    assert len(found) == 2
    assert found[0].startswith(f"Omniglot, ResNet: active units of {PAPER_GATES} fall")
    assert found[1].startswith(f"Omniglot, ResNet: {PAPER_GATES} has as many active units")


@pytest.mark.parametrize(("factor", "count"), [(1.09, 0), (1.11, 1), (2.0, 2)])
def test_a_distance_a_tenth_above_fails_and_a_wrong_order_fails_too(factor: float, count: int) -> None:
    found = failed(measured_results(fig6.RECIPE, "cpu", numbers(frechet=factor)))
    assert len(found) == count
    assert all("of samples of" in text for text in found)


def test_a_rise_of_the_dedicated_units_fails_their_claims() -> None:
    # At 1 they are 14, at 10 then 16.5.
    found = failed(measured_results(fig6.RECIPE, "cpu", numbers(units=6.0, label=DEDICATED, beta=10.0)))
    assert sum(f"active units of {DEDICATED} fall" in text for text in found) == 2
    assert sum("has as many active units" in text for text in found) == 3
    assert len(found) == 5


def test_numbers_say_each_measure_beside_the_dedicated_models() -> None:
    found = with_numbers(fig6.RECIPE, measured_results(fig6.RECIPE, "cpu", numbers(units=2.0))).numbers
    units = found["Omniglot, ResNet"]["active_units"]
    assert units[DEDICATED]["1"] == 14.0
    row = units["against dedicated"][MULTI_RATE][2]
    assert row == {"beta": 1.0, "ours": pytest.approx(16.0), "theirs": pytest.approx(14.0)}
    assert set(found["CelebA (8,000 faces), ResNet"]) == {"active_units", LITE0, f"reconstruction_{LITE0}"}


@pytest.mark.slow
def test_the_figure_has_units_of_all_data_then_distances() -> None:
    figure = fig6.figure(measured_results(fig6.RECIPE, "cpu", numbers()))
    faces, network = "CelebA (8,000 faces), ResNet", "Fréchet distance (efficientnet_lite0)"
    assert [(axes.get_title(loc="left").replace("\n", " "), axes.get_ylabel()) for axes in figure.axes] == [
        ("Omniglot, ResNet", "active units"),
        (faces, "active units"),
        (f"{faces}: samples", network),
        (f"{faces}: reconstructions", network),
    ]
    assert all(axes.get_xlabel() == "β" and axes.get_xscale() == "log" for axes in figure.axes)
