"""Table 2: the best test ELBO over beta, of multi-rate and of dedicated models (Bae et al. 2023)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multirate.errors import UsageError
from multirate.experiments.reproduce.common import DEDICATED, MULTI_RATE, PAPER_GATES
from multirate.experiments.reproduce.fig5 import MODELS
from multirate.experiments.reproduce.judging import mean_curve
from multirate.experiments.reproduce.recipe import Arm, Claim, Measured, Recipe, Results, Scale
from multirate.experiments.reproduce.shared import dedicated, image_setting, multirate_arms

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Minus the best test ELBO in nats, of dedicated models and of the paper's multi-rate ones.
PAPER = {
    "MNIST, ConvNet": (96.35, 93.51),
    "MNIST, ResNet": (89.63, 87.89),
    "Omniglot, ConvNet": (114.73, 110.98),
    "Omniglot, ResNet": (111.07, 107.78),
}


@dataclass(frozen=True)
class Best:
    """The best ELBO of an arm, at the betas that the dedicated models have.

    Args:
        beta: where it is.
        negative_elbo: D + R, the mean over seeds, nats per example.
        seeds: the best of each seed at any of those betas, nats.
    """

    beta: float
    negative_elbo: float
    seeds: tuple[float, ...]


def arms(scale: Scale) -> tuple[Arm, ...]:
    """Return the runs of Fig. 5 on MNIST and Omniglot.

    Args:
        scale: of the recipe.
    """
    data = ("digits",) if scale == "smoke" else ("mnist", "omniglot")
    settings = [image_setting(name, model, scale) for name in data for model in MODELS]
    return tuple(arm for setting in settings for arm in (*multirate_arms(setting, scale), dedicated(setting, scale)))


def best(measured: Measured, betas: list[float]) -> Best:
    """Return the least D + R of an arm over some betas.

    Args:
        measured: the arm.
        betas: within its curves.

    Raises:
        UsageError: if there is none.
    """
    if not betas:
        raise UsageError(f"the best ELBO of {measured.arm.label!r} needs betas; give at least one")
    curve = mean_curve(measured)
    values = {beta: -curve.at(beta)["elbo"] for beta in betas}
    at = min(values, key=lambda beta: values[beta])
    each = tuple(min(-one.at(beta)["elbo"] for beta in betas) for one in measured.curves)
    return Best(at, values[at], each)


def rows(results: Results) -> dict[str, dict[str, Best]]:
    """Return the best ELBO of each arm of each panel, all at the dedicated models' betas.

    Args:
        results: of the recipe.
    """
    table = {}
    for panel in results.panels:
        measured = results.of_panel(panel)
        betas = [float(beta) for beta in measured[DEDICATED].curve.betas]
        table[panel] = {label: best(one, betas) for label, one in measured.items()}
    return table


def figure(results: Results) -> "Figure":
    """Draw the table, the paper's numbers beside ours.

    Args:
        results: of the recipe.
    """
    from multirate.report.reproduction import table_figure

    header = ["minus best test ELBO (nats)", "paper: β-VAE", "paper: MR-VAE"]
    table, labels = rows(results), list(dict.fromkeys(label for _, label in results.arms))
    labels.sort(key=lambda label: label != DEDICATED)
    lines = [[*header, *labels]]
    for panel, found in table.items():
        paper = [f"{value:.2f}" for value in PAPER[panel]] if panel in PAPER else ["", ""]
        lines.append([panel, *paper, *(_cell(found[label]) if label in found else "" for label in labels)])
    return table_figure(lines, title="Best test ELBO over β")


def claims(results: Results) -> tuple[Claim, ...]:
    """Judge that the multi-rate model's best ELBO is better than the dedicated models' best, in each panel.

    Args:
        results: of the recipe.
    """
    found = []
    for panel, table in rows(results).items():
        theirs = table[DEDICATED]
        paper = "better"
        if panel in PAPER:
            worse, better = PAPER[panel]
            paper = f"{better:.2f} against {worse:.2f}: {worse - better:.2f} nats better"
        for label in (MULTI_RATE, PAPER_GATES):
            if label in table:
                text = f"{panel}: {label} has a better best ELBO than the dedicated β-VAEs (less D + R)"
                found.append(_claim(text, paper, table[label], theirs))
    return tuple(found)


def numbers(results: Results) -> dict[str, Any]:
    """Return the table as JSON.

    Args:
        results: of the recipe.
    """
    return {
        panel: {
            label: {"beta": one.beta, "negative_elbo": one.negative_elbo, "best_of_seeds": list(one.seeds)}
            for label, one in table.items()
        }
        | ({"paper": {DEDICATED: PAPER[panel][0], MULTI_RATE: PAPER[panel][1]}} if panel in PAPER else {})
        for panel, table in rows(results).items()
    }


def _claim(text: str, paper: str, ours: Best, theirs: Best) -> Claim:
    gain = theirs.negative_elbo - ours.negative_elbo
    verdict = f"{abs(gain):.2f} nats {'better' if gain > 0 else 'worse'}"
    found = f"{ours.negative_elbo:.2f} (β = {ours.beta:.3g}) against {theirs.negative_elbo:.2f} (β = {theirs.beta:.3g})"
    return Claim(text, paper, f"{found}: {verdict}", gain > 0)


def _cell(one: Best) -> str:
    return f"{one.negative_elbo:.2f} (β = {one.beta:.3g})"


RECIPE = Recipe(
    name="table2",
    title="Best test ELBO over β",
    arms=arms,
    figure=figure,
    claims=claims,
    numbers=numbers,
    budget={
        "smoke": "the runs of fig5 on scikit-learn's digits",
        "cpu": "the runs of fig5: static binary MNIST (4 epochs) and Omniglot (8 epochs), ConvNet 24 and ResNet 32 "
        "channels wide where the paper's have 128; both kinds of model at the 4 betas of the dedicated ones, seed 0",
        "paper": "the runs of fig5: 200 epochs, 10 betas, step sizes from a grid of 5, 3 seeds",
    },
)
