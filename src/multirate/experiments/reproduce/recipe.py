"""What a reproduction is made of, as data: runs, the curves they make, and claims; imports no torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from multirate.curve import Curve
from multirate.experiments.spec import RunSpec
from multirate.metrics.options import MeasureOptions
from multirate.training.config import TrainConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Scale: TypeAlias = Literal["smoke", "cpu", "paper"]
SCALES: tuple[Scale, ...] = ("smoke", "cpu", "paper")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a run is measured.

    Args:
        betas: of a multi-rate run; a plain one is measured at its own.
        split: of the data.
        examples: only the first so many.
        samples: posterior samples an example.
        measures: beside rate and distortion.
        options: of the measures.
        recalibrate: whether BatchNorm statistics are estimated anew at each beta.
    """

    betas: tuple[float, ...]
    split: Literal["train", "validation", "test"] = "test"
    examples: int | None = None
    samples: int = 1
    measures: tuple[str, ...] = ("active_units",)
    options: MeasureOptions = field(default_factory=MeasureOptions)
    recalibrate: bool = False


@dataclass(frozen=True, kw_only=True)
class Member:
    """One training run and its measurement.

    Args:
        name: of its folder. Recipes that need the same run give it the same name, and it is trained once.
        spec: model and data; ``spec.beta`` is None for a multi-rate run.
        config: how it is trained.
        evaluation: how it is measured.
        start: name of the member whose weights it starts from, which is trained before it.
    """

    name: str
    spec: RunSpec
    config: TrainConfig
    evaluation: Evaluation
    start: str | None = None


# Members that differ in learning rate (or in nothing: a single one); the one with the least mean objective D + beta R
# on the validation split is taken.
Choice: TypeAlias = tuple[Member, ...]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One line of a figure, or one row of a table: a multi-rate model, or dedicated models over beta, over seeds.

    Args:
        label: as in the legend, such as ``"MR-VAE"``.
        panel: of the figure, such as ``"MNIST, ResNet"``.
        seeds: for each seed its choices: one for a multi-rate model, one a beta for dedicated models.
        kind: how it is drawn: a multi-rate curve, a family of dedicated models, or one point.
        budget: of training, in words, such as ``"4 epochs each"``.
    """

    label: str
    panel: str
    seeds: tuple[tuple[Choice, ...], ...]
    kind: Literal["multi-rate", "dedicated", "point"] = "multi-rate"
    budget: str = ""


@dataclass(frozen=True)
class Measured:
    """What the engine measured of an arm.

    Args:
        arm: which one.
        curves: one a seed, over the arm's betas.
        folders: of the chosen runs, by seed and in order of the choices.
    """

    arm: Arm
    curves: tuple[Curve, ...]
    folders: tuple[tuple[Path, ...], ...]

    @property
    def curve(self) -> Curve:
        """The curve of the first seed."""
        return self.curves[0]


@dataclass(frozen=True)
class Results:
    """What a recipe's figure and claims are made from.

    Args:
        scale: at which it was run.
        arms: by panel and label.
        numbers: what the recipe computed beside curves, as JSON: parameter counts, gaps.
    """

    scale: Scale
    arms: Mapping[tuple[str, str], Measured]
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def panels(self) -> tuple[str, ...]:
        """Names of the panels, in order."""
        return tuple(dict.fromkeys(panel for panel, _ in self.arms))

    def of_panel(self, panel: str) -> dict[str, Measured]:
        """Return the arms of a panel by label, in order."""
        return {label: measured for (name, label), measured in self.arms.items() if name == panel}


@dataclass(frozen=True)
class Claim:
    """One claim of the paper beside what was measured.

    Args:
        text: the claim.
        paper: the paper's number, or its words where it has none.
        ours: our number, in words, with its unit.
        holds: whether it holds at this budget.
    """

    text: str
    paper: str
    ours: str
    holds: bool


@dataclass(frozen=True)
class Recipe:
    """One figure or table of the paper.

    Args:
        name: such as ``"fig5"``.
        title: in one line.
        arms: the runs at a scale.
        figure: draws the paper's figure in its form; a table gives a figure of its rows.
        claims: of the paper.
        numbers: what is computed beside the curves from the measured arms, for ``numbers.json``; None for nothing.
        budget: a sentence on data, model and training at each scale, for the page that shows the results.
    """

    name: str
    title: str
    arms: Callable[[Scale], tuple[Arm, ...]]
    figure: Callable[[Results], "Figure"]
    claims: Callable[[Results], tuple[Claim, ...]]
    budget: Mapping[Scale, str]
    numbers: Callable[[Results], dict[str, Any]] | None = None
