"""A recipe that takes a few seconds: every kind of arm, on a few digits."""

import dataclasses
from typing import TYPE_CHECKING, Any

from multirate.experiments.reproduce.recipe import Arm, Choice, Claim, Evaluation, Member, Recipe, Results, Scale
from multirate.experiments.spec import RunSpec
from multirate.report.style import new_figure
from multirate.training.config import TrainConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPEC = RunSpec(data="digits", model="mlp", hidden=(16,), latents=3, examples=192)
CONFIG = TrainConfig(epochs=2, batch_size=64, checkpoint_every=2)
STEPS = 6
EVALUATION = Evaluation(betas=(0.1, 1.0, 10.0), examples=100)
BETAS = (0.1, 1.0)
SEEDS = (0, 1)
# One that learns, one that barely does, and one that diverges at once.
RATES = (1e-7, 5e-3, 1e30)


def member(arm: str, seed: int = 0, *, start: str | None = None, **options: Any) -> Member:
    spec_names = {entry.name for entry in dataclasses.fields(RunSpec)}
    spec = {key: value for key, value in options.items() if key in spec_names and key != "beta"}
    config = {key: value for key, value in options.items() if key not in spec_names}
    beta = options.get("beta")
    return Member(
        name=f"tiny-{arm}-s{seed}",
        spec=dataclasses.replace(SPEC, beta=beta, **spec),
        config=dataclasses.replace(CONFIG, seed=seed, **config),
        evaluation=EVALUATION if beta is None else dataclasses.replace(EVALUATION, betas=(beta,)),
        start=start,
    )


def dedicated(seed: int) -> tuple[Choice, ...]:
    return tuple((member(f"beta{beta:g}", seed, beta=beta),) for beta in BETAS)


def warm_started(seed: int) -> tuple[Choice, ...]:
    first, _ = dedicated(seed)
    return first, (member("warm-beta1", seed, beta=1.0, start=first[0].name),)


def grid(rates: tuple[float, ...] = RATES) -> tuple[Choice, ...]:
    return (tuple(member(f"lr{rate:g}", beta=1.0, learning_rate=rate) for rate in rates),)


MULTI_RATE = Arm(label="MR-VAE", panel="digits, one", seeds=tuple(((member("mr", seed),),) for seed in SEEDS))
DEDICATED = Arm(label="β-VAE", panel="digits, one", seeds=tuple(map(dedicated, SEEDS)), kind="dedicated")
WARM = Arm(label="β-VAE (warm)", panel="digits, one", seeds=tuple(map(warm_started, SEEDS)), kind="dedicated")
CHOSEN = Arm(label="the best", panel="two", seeds=(grid(),), kind="point", budget="2 epochs")
# Another panel with the same runs: they are trained once.
AGAIN = dataclasses.replace(DEDICATED, panel="two")

MEMBERS = 2 + 4 + 2 + 3


def arms(scale: Scale) -> tuple[Arm, ...]:
    return MULTI_RATE, DEDICATED, WARM, CHOSEN, AGAIN


def figure(results: Results) -> "Figure":
    drawn = new_figure(3, 2)
    axes = drawn.subplots()
    for measured in results.arms.values():
        axes.plot(measured.curve.rates, measured.curve.distortions)
    return drawn


def claims(results: Results) -> tuple[Claim, ...]:
    rates = results.of_panel("digits, one")["MR-VAE"].curve.rates
    return (
        Claim("the rate falls | rises", "falls", f"{rates[0]:.3g}\nto {rates[-1]:.3g}", True),
        Claim("the rate is negative", "never", f"{results.numbers['least']:.3g}", False),
    )


def numbers(results: Results) -> dict[str, Any]:
    return {"least": min(float(one.curve.rates.min()) for one in results.arms.values())}


RECIPE = Recipe(
    name="tiny",
    title="A tiny recipe",
    arms=arms,
    figure=figure,
    claims=claims,
    numbers=numbers,
    budget={"smoke": "192 digits, 2 epochs", "cpu": "the same", "paper": "the same"},
)


def recipe_of(*chosen: Arm) -> Recipe:
    """Return a recipe of these arms alone, with a figure, a claim and no numbers."""
    return dataclasses.replace(
        RECIPE,
        arms=lambda scale: chosen,
        claims=lambda results: (Claim("it runs", "-", "it does", True),),
        numbers=None,
    )
