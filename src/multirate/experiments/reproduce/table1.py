"""Table 1: parameters of every model of the paper, and of its gates (Bae et al. 2023); nothing is trained."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from multirate.experiments.reproduce.recipe import Arm, Claim, Recipe, Results, Scale
from multirate.experiments.reproduce.shared import COLOUR, DATA_TITLES, LATENTS, MODEL_TITLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of Yahoo Answers with 20,000 words, of which one is the unknown word, and three more specials.
_VOCABULARY = 20_003
# Largest share of the base's parameters that the gates add, in the paper's words.
_SHARE = 0.05


@dataclass(frozen=True)
class Size:
    """A model of the paper on its data.

    Args:
        model: name of the builder.
        data: name of the data set.
        options: of the builder, without the shape.
        paper: the paper's count of the base, to thousands, and of the gates; None where it is not compared.
    """

    model: str
    data: str
    options: Mapping[str, Any] = field(default_factory=dict)
    paper: tuple[int, int] | None = None

    @property
    def title(self) -> str:
        """Data and model."""
        return f"{DATA_TITLES[self.data]}, {MODEL_TITLES[self.model]}"


@dataclass(frozen=True)
class Count:
    """Parameters of a model.

    Args:
        latents: of the model; of all groups together for NVAE.
        base: of the plain VAE.
        paper_gates: that the paper's response adds.
        default_gates: that this library's default response adds.
    """

    latents: int
    base: int
    paper_gates: int
    default_gates: int


def _images(model: str, data: str, paper: tuple[int, int] | None = None) -> Size:
    likelihood = "squared_error" if data in COLOUR else "bernoulli"
    return Size(model, data, {"latents": LATENTS.get(data, 32), "likelihood": likelihood}, paper)


SIZES = (
    Size("linear", "mnist"),
    *(_images("convnet", data) for data in ("mnist", "omniglot", "cifar10", "svhn", "celeba")),
    _images("resnet", "mnist", (1_881_000, 3_072)),
    *(_images("resnet", data) for data in ("omniglot", "cifar10", "svhn", "celeba")),
    Size("lstm", "yahoo", {"vocabulary_size": _VOCABULARY}),
    *(Size("nvae", data, {"configuration": "mnist"}) for data in ("mnist", "omniglot")),
    Size("nvae", "celeba", {"configuration": "celeba64", "likelihood": "discretized_logistic"}),
)


def count(size: Size) -> Count:
    """Build a model, without memory for its weights, and count.

    Args:
        size: the model.
    """
    import torch

    from multirate.beta import BetaRange
    from multirate.convert import convert
    from multirate.data.catalog import DATA_SETS
    from multirate.models import build

    with torch.device("meta"):
        base = build(size.model, shape=DATA_SETS[size.data].shape, **size.options)
        parts = [base, *(convert(base, BetaRange(), response=response).response for response in ("paper", "default"))]
    return Count(int(base.latents), *(sum(p.numel() for p in part.parameters()) for part in parts))


def arms(scale: Scale) -> tuple[Arm, ...]:
    """Return none: the table needs no run.

    Args:
        scale: of the recipe; all are the same.
    """
    return ()


def numbers(results: Results) -> dict[str, Any]:
    """Return the counts of each model, as JSON.

    Args:
        results: of the recipe, without arms.
    """
    from multirate.data.catalog import DATA_SETS

    found: dict[str, Any] = {}
    counts: dict[str, dict[str, int]] = {}
    for size in SIZES:
        # Data of one shape have one model.
        alike = repr((size.model, DATA_SETS[size.data].shape, size.options))
        counts[alike] = counts.get(alike) or asdict(count(size))
        found[size.title] = counts[alike]
    return found


def figure(results: Results) -> "Figure":
    """Draw the table.

    Args:
        results: of the recipe, with its numbers.
    """
    from multirate.report.reproduction import table_figure

    lines = [["data, model", "latents", "β-VAE", "paper's gates", "default gates", "paper: β-VAE", "paper: gates"]]
    for size in SIZES:
        found = _found(results, size)
        gates = [f"{n:,} (+{n / found.base:.2%})" for n in (found.paper_gates, found.default_gates)]
        paper = ["", ""] if size.paper is None else [f"{size.paper[0] / 1e6:.3f} M", f"{size.paper[1]:,}"]
        lines.append([size.title, str(found.latents), f"{found.base:,}", *gates, *paper])
    return table_figure(lines, title="Parameters")


def claims(results: Results) -> tuple[Claim, ...]:
    """Judge the counts that are given for one model, and the share of the gates for all.

    Args:
        results: of the recipe, with its numbers.
    """
    found = []
    for size in SIZES:
        if size.paper is None:
            continue
        ours = _found(results, size)
        base, gates = size.paper
        right = (round(ours.base, -3), ours.paper_gates) == (base, gates)
        found.append(
            Claim(
                f"{size.title}: parameters of the β-VAE, and those that its gates add (equal, the first to thousands)",
                f"{base / 1e6:.3f} M and {gates:,}",
                f"{ours.base:,} and {ours.paper_gates:,}",
                right,
            )
        )
    counts = {size.title: _found(results, size) for size in SIZES}
    for gates_name in ("paper_gates", "default_gates"):
        shares = {title: getattr(one, gates_name) / one.base for title, one in counts.items()}
        worst = max(shares, key=lambda title: shares[title])
        who = "the paper's gates" if gates_name == "paper_gates" else "the default's gates"
        text = f"{who} add little to every model (at most {_SHARE:.0%} of its parameters)"
        found.append(Claim(text, "at most 5%", f"at most {shares[worst]:.2%} ({worst})", shares[worst] <= _SHARE))
    return tuple(found)


def _found(results: Results, size: Size) -> Count:
    return Count(**results.numbers[size.title])


_BUDGET = "nothing is trained: models of full size are built and counted"

RECIPE = Recipe(
    name="table1",
    title="Parameters of β-VAEs and of their gates",
    arms=arms,
    figure=figure,
    claims=claims,
    numbers=numbers,
    budget={"smoke": _BUDGET, "cpu": _BUDGET, "paper": _BUDGET},
)
