"""Table 2: the best ELBO, at betas that both kinds of model have."""

import pytest

from multirate.errors import UsageError
from multirate.experiments.reproduce import table2
from multirate.experiments.reproduce.common import DEDICATED, MULTI_RATE, PAPER_GATES
from multirate.experiments.reproduce.recipe import Arm
from synthetic_arms import DEDICATED as REFERENCE
from synthetic_arms import curve, measured, results

ARM = Arm(label="MR-VAE", panel="p", seeds=())


def test_the_best_elbo_is_that_of_the_published_dedicated_models() -> None:
    # D + R: 171.3, 126.9, 94.3 and 151.9 nats.
    best = table2.best(measured(ARM, curve(REFERENCE)), list(REFERENCE))
    assert (best.beta, best.negative_elbo) == (1.0, pytest.approx(94.3))
    assert best.seeds == (pytest.approx(94.3),)


def test_only_the_betas_asked_for_count() -> None:
    best = table2.best(measured(ARM, curve(REFERENCE)), [0.01, 0.1])
    assert (best.beta, best.negative_elbo) == (0.1, pytest.approx(126.9))
    with pytest.raises(UsageError, match="give at least one"):
        table2.best(measured(ARM, curve(REFERENCE)), [])


def test_the_papers_eight_numbers_say_which_is_better() -> None:
    gains = {panel: round(worse - better, 2) for panel, (worse, better) in table2.PAPER.items()}
    assert gains == {
        "MNIST, ConvNet": 2.84,
        "MNIST, ResNet": 1.74,
        "Omniglot, ConvNet": 3.75,
        "Omniglot, ResNet": 3.29,
    }


@pytest.mark.parametrize("more", [-0.01, 0.01])
def test_a_claim_holds_if_and_only_if_the_elbo_is_better(more: float) -> None:
    def higher(arm: Arm) -> float:
        return more if arm.label == MULTI_RATE else 0.0

    found = [claim for claim in table2.claims(results(table2.RECIPE, "cpu", higher)) if PAPER_GATES not in claim.text]
    assert len(found) == 4
    assert [claim.holds for claim in found] == [more < 0] * 4
    assert found[0].paper == "93.51 against 96.35: 2.84 nats better"
    assert found[0].ours.endswith(f"0.01 nats {'better' if more < 0 else 'worse'}")


def test_the_numbers_name_beta_and_the_papers() -> None:
    numbers = results(table2.RECIPE, "cpu").numbers
    assert list(numbers) == list(table2.PAPER)
    # 30 + 60 + 24.5 at beta 1, where D + R of the made-up curve is least among the four.
    assert numbers["MNIST, ResNet"][DEDICATED]["negative_elbo"] == pytest.approx(114.5)
    assert numbers["MNIST, ResNet"]["paper"] == {DEDICATED: 89.63, MULTI_RATE: 87.89}


def test_the_figure_has_a_row_a_panel() -> None:
    figure = table2.figure(results(table2.RECIPE, "cpu"))
    texts = [text.get_text() for text in figure.axes[0].texts]
    for panel, values in table2.PAPER.items():
        assert panel in texts
        assert {f"{value:.2f}" for value in values} <= set(texts)
    assert "114.50 (β = 1)" in texts
