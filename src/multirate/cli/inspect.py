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
    """linear, mlp, convnet, resnet, nvae or lstm; or the folder of a run."""
    shape: tuple[int, ...] | None = None
    """Shape of one example, for a built-in model: by default 1 28 28, and 50 words for lstm."""
    latents: int | None = None
    """Number of latents, for a built-in model."""
    likelihood: str | None = None
    """Such as bernoulli or gaussian, for a built-in model."""
    model_options: tuple[str, ...] = ()
    """Further options of a built-in model, each as name=value: configuration=mnist, vocabulary_size=20000."""
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
        base, plan, title = _of_run(Path(options.model), options)
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
    from multirate.experiments.spec import read_pairs
    from multirate.models import TEXT_MODELS, build
    from multirate.plan import plan

    text = options.model in TEXT_MODELS
    chosen = {"latents": options.latents, "likelihood": options.likelihood}
    keywords: dict[str, Any] = {"shape": options.shape or ((50,) if text else (1, 28, 28))}
    keywords |= {"vocabulary_size": 10_000} if text else {}
    keywords |= {name: value for name, value in chosen.items() if value is not None}
    base = build(options.model, **keywords | read_pairs(options.model_options, "a model option"))
    return base, plan(base, response=options.response), f"{options.model}, not trained"


def _of_run(folder: Path, options: Options) -> tuple[Any, Any, str]:
    from multirate.experiments.run import open_run
    from multirate.plan import plan
    from multirate.wrapper import MultiRate

    done = open_run(folder)
    of_built_in = ("shape", "latents", "likelihood", "model_options")
    for name in (*of_built_in, "response") if isinstance(done.model, MultiRate) else of_built_in:
        if getattr(options, name) != getattr(Options, name):
            raise UsageError(f"--{name.replace('_', '-')} does nothing for {folder}, which has its own; leave it out")
    if isinstance(done.model, MultiRate):
        known = {layer.name for layer in done.model.plan.gated}
        skipped = tuple(s for s in plan(done.model.base).skipped if s.name not in known)
        title = f"{folder}: multi-rate {done.spec.model} over {done.model.beta_range}"
        return done.model.base, dataclasses.replace(done.model.plan, skipped=skipped), title
    title = f"{folder}: beta-VAE {done.spec.model} at beta {done.beta:g}; converted it would be"
    return done.model, plan(done.model, response=options.response), title
