"""``multirate inspect``."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from multirate.cli.shared import Screen, Shared, SharedOptions
from multirate.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Show which layers of a built-in model, or of a run, get gates, why the others get none, and what it costs.

    Example: multirate inspect resnet --latents 32
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL|RUN")]
    """linear, mlp, convnet or resnet; or the folder of a run."""
    shape: tuple[int, ...] = (1, 28, 28)
    """Shape of one example, for a built-in model."""
    latents: int = 32
    """Number of latents, for a built-in model."""
    likelihood: str = "bernoulli"
    """bernoulli or gaussian, for a built-in model."""
    response: str = "default"
    """How gates respond to beta: default, paper, sigmoid or film."""
    shared: SharedOptions = field(default_factory=Shared)


def run(options: Options) -> None:
    """Print the plan and the numbers of parameters."""
    from multirate.models import MODEL_NAMES

    screen = Screen(options.shared)
    if options.model in MODEL_NAMES:
        base, plan, title = _built_in(options)
    elif Path(options.model).is_dir():
        base, plan, title = _of_run(Path(options.model), options.response)
    else:
        raise UsageError(f"no model or run {options.model!r}; choose {', '.join(MODEL_NAMES)} or the folder of a run")
    parameters = sum(parameter.numel() for parameter in base.parameters())
    screen.say(title)
    screen.say(str(plan))
    share = plan.parameters / parameters
    screen.say(f"parameters: {parameters:,} in the base, {plan.parameters:,} ({share:.2%}) in the response")
    gated = [dataclasses.asdict(layer) for layer in plan.gated]
    skipped = [dataclasses.asdict(layer) for layer in plan.skipped]
    numbers = {"parameters": parameters, "response_parameters": plan.parameters}
    screen.result({"model": title, **numbers, "gated": gated, "skipped": skipped})


def _built_in(options: Options) -> tuple[Any, Any, str]:
    from multirate.models import build
    from multirate.plan import plan

    base = build(options.model, shape=options.shape, latents=options.latents, likelihood=options.likelihood)
    return base, plan(base, response=options.response), f"{options.model}, not trained"


def _of_run(folder: Path, response: str) -> tuple[Any, Any, str]:
    from multirate.experiments.run import open_run
    from multirate.plan import plan
    from multirate.wrapper import MultiRate

    done = open_run(folder)
    if isinstance(done.model, MultiRate):
        known = {layer.name for layer in done.model.plan.gated}
        skipped = tuple(s for s in plan(done.model.base).skipped if s.name not in known)
        title = f"{folder}: multi-rate {done.spec.model} over {done.model.beta_range}"
        return done.model.base, dataclasses.replace(done.model.plan, skipped=skipped), title
    title = f"{folder}: beta-VAE {done.spec.model} at beta {done.beta:g}; converted it would be"
    return done.model, plan(done.model, response=response), title
