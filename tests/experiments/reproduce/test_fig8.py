"""Fig. 8: which ranges and runs there are, and that its claims can fail."""

import pytest

from multirate.experiments.building import load_data
from multirate.experiments.reproduce import fig5, fig8
from multirate.experiments.reproduce.common import MULTI_RATE
from multirate.experiments.reproduce.naming import members_of
from multirate.experiments.reproduce.recipe import SCALES, Arm, Results, Scale
from synthetic_measures import measured_results, with_numbers

# Six ranges, of which one is in both panels; multi-rate and dedicated beta-TCVAEs; step sizes times seeds.
RUNS = {"smoke": 6 + 1 + 2, "cpu": 6 + 1 + 3, "paper": (6 + 1 + 10) * 5 * 3}
RANGES = {
    "a = 0.001": (0.001, 10.0),
    "a = 0.01": (0.01, 10.0),
    "a = 0.1": (0.1, 10.0),
    "a = 1": (1.0, 10.0),
    "b = 10": (0.01, 10.0),
    "b = 1": (0.01, 1.0),
    "b = 0.1": (0.01, 0.1),
}
LOWER, UPPER = (f"Omniglot, ResNet: {end}" for end in ("a varies, b = 10", "b varies, a = 0.01"))


def gaps(more: float = 0.0, label: str = MULTI_RATE, beta: float = 1.0):
    """Return mutual information gaps that rise with beta and agree, but for one arm at one beta."""

    def of(arm: Arm, at: float) -> dict[str, float]:
        if fig8.MIG not in arm.seeds[0][0][0].evaluation.measures:
            return {}
        return {fig8.MIG: 0.2 * at**0.3 + (more if (arm.label, at) == (label, beta) else 0)}

    return of


def shifted(label: str, nats: float):
    return lambda arm, beta: nats if arm.label == label else 0.0


def failed(results: Results) -> list[str]:
    return [claim.text.split(" (")[0] for claim in fig8.claims(results) if not claim.holds]


@pytest.mark.parametrize("scale", SCALES)
def test_there_are_as_many_runs_as_counted_by_hand(scale: Scale) -> None:
    assert len(members_of(fig8.arms(scale))) == RUNS[scale]


@pytest.mark.parametrize("scale", SCALES)
def test_ranges_are_the_papers_and_are_measured_at_the_betas_that_they_share(scale: Scale) -> None:
    arms = {arm.label: arm.seeds[0][0][0] for arm in fig8.arms(scale)[:7]}
    assert {label: (m.spec.beta_low, m.spec.beta_high) for label, m in arms.items()} == RANGES
    usual = set(arms["a = 0.01"].evaluation.betas)
    for label, (low, high) in RANGES.items():
        betas = arms[label].evaluation.betas
        assert (min(betas), max(betas)) == (low, high)
        assert {beta for beta in usual if low <= beta <= high} == {beta for beta in betas if beta >= 0.01}


@pytest.mark.parametrize("scale", SCALES)
def test_the_usual_range_is_the_run_of_fig5(scale: Scale) -> None:
    known, own = fig5.arms(scale), fig8.arms(scale)
    of_fig5 = members_of(known)
    members_of([*known, *own])
    usual = [choice for arm in own if arm.label in ("a = 0.01", "b = 10") for choice in arm.seeds[0]]
    assert all(member.name in of_fig5 for choice in usual for member in choice)


def test_the_papers_beta_tcvaes_have_the_papers_network_and_training() -> None:
    *_, multirate, dedicated = fig8.arms("paper")
    ours, theirs = multirate.seeds[0][0][0], dedicated.seeds[0][0][0]
    for member in (ours, theirs):
        assert (member.spec.data, member.spec.hidden, member.spec.latents) == ("dsprites", (1200, 1200), 10)
        assert member.spec.network_options()["decoder_activation"] == "tanh"
        assert (member.config.objective, member.config.epochs) == ("beta-tcvae", 50)
        assert (member.config.batch_size, member.spec.examples) == (2048, None)
    assert ours.spec.range_options() == {"low": 0.1, "high": 10.0, "skew": 1.0, "margin": 1.0}
    assert [choice[0].spec.beta for choice in dedicated.seeds[0]][::9] == [0.1, 10.0]


def test_claims_hold_when_all_arms_agree() -> None:
    results = measured_results(fig8.RECIPE, "cpu", gaps())
    # The widest beside three and two others; two and two that are narrower than the usual; two on the gap.
    assert len(fig8.claims(results)) == (3 + 2) + (2 + 2) + 2
    assert failed(results) == []


def test_a_wide_range_that_costs_more_than_two_nats_fails_beside_each_narrower() -> None:
    found = failed(measured_results(fig8.RECIPE, "cpu", gaps(), more=shifted("a = 0.001", 2.1)))
    assert [text.split("beside ")[1].split(",")[0] for text in found] == ["a = 0.01", "a = 0.1", "a = 1"]
    assert failed(measured_results(fig8.RECIPE, "cpu", gaps(), more=shifted("a = 0.001", 1.9))) == []


def test_a_narrow_range_that_is_better_by_more_than_a_nat_is_a_gain() -> None:
    found = failed(measured_results(fig8.RECIPE, "cpu", gaps(), more=shifted("b = 0.1", -1.1)))
    assert found == [f"{UPPER}: narrowing the range from b = 10 to b = 0.1 brings no gain"]
    assert failed(measured_results(fig8.RECIPE, "cpu", gaps(), more=shifted("b = 0.1", -0.9))) == []


@pytest.mark.parametrize(("more", "count"), [(0.04, 0), (0.06, 1), (-0.06, 1), (0.4, 2)])
def test_gaps_further_apart_than_a_twentieth_fail_and_a_wrong_order_too(more: float, count: int) -> None:
    found = failed(measured_results(fig8.RECIPE, "cpu", gaps(more)))
    assert len(found) == count


def test_numbers_are_positive_where_a_range_is_worse_than_the_usual() -> None:
    results = measured_results(fig8.RECIPE, "cpu", gaps(0.01), more=shifted("a = 1", 3.0))
    numbers = with_numbers(fig8.RECIPE, results).numbers
    assert numbers[LOWER]["a = 1"]["10"] == pytest.approx(3.0)
    assert numbers[UPPER]["b = 0.1"]["0.1"] == pytest.approx(0.0)
    rows = {row["beta"]: row["ours"] - row["theirs"] for row in numbers["dSprites, MLP, β-TCVAE"]}
    assert rows == {0.1: pytest.approx(0.0), 1.0: pytest.approx(0.01), 10.0: pytest.approx(0.0)}


@pytest.mark.slow
def test_the_figure_has_two_panels_of_ranges_and_one_of_the_gap() -> None:
    figure = fig8.figure(measured_results(fig8.RECIPE, "cpu", gaps()))
    lower, upper, sprites = figure.axes
    labels = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in (lower, upper, sprites)]
    assert labels == [list(RANGES)[:4], list(RANGES)[4:], [MULTI_RATE, "β-TCVAE"]]
    assert (sprites.get_xlabel(), sprites.get_ylabel()) == ("β", "mutual information gap")


@pytest.mark.slow
def test_sprites_of_the_smoke_run_have_factors() -> None:
    spec = fig8.sprites_setting("smoke").spec
    train, test = (load_data(spec, split) for split in ("train", "test"))
    assert (len(train), train.shape) == (2048, (1, 64, 64))
    assert test.factors.shape[1] == 6
