"""What a specification stands for: its data, and its model before training."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from multirate.beta import BetaRange
from multirate.convert import convert
from multirate.data import Source, load
from multirate.errors import UsageError
from multirate.experiments.spec import RunSpec
from multirate.experiments.start import load_start, preserved_beta, read_start
from multirate.models import TEXT_MODELS, build
from multirate.seeding import seeded

# What bytes are divided by: pixels of 256 levels.
BYTES = 255


class FirstExamples(Source):
    """The first examples of another source.

    ``factors`` and ``factor_names`` are those of the other one, None if it has none.

    Args:
        source: the other one.
        count: how many.
    """

    def __init__(self, source: Source, count: int) -> None:
        details = source.details | {"first": count}
        super().__init__(
            source.shape, name=source.name, split=source.split, likelihood=source.likelihood, details=details
        )
        self.value_range = source.value_range
        self.vocabulary = source.vocabulary
        self.factor_names: Sequence[str] | None = getattr(source, "factor_names", None)
        self._source = source
        self._count = min(count, len(source))

    def __len__(self) -> int:
        return self._count

    def batch(self, indices: Tensor) -> Tensor:
        """Return the examples at ``indices``, as the other source does."""
        return self._source.batch(indices)

    @property
    def factors(self) -> Tensor | None:
        """Index of each factor's value for each example, if the other source knows them, ``[N, F]``."""
        factors: Tensor | None = getattr(self._source, "factors", None)
        return None if factors is None else factors[: self._count]


def load_data(spec: RunSpec, split: str, data_dir: str | None = None) -> Source:
    """Load one split of a specification's data.

    Args:
        spec: names the data.
        split: ``train``, ``validation`` or ``test``.
        data_dir: in place of the specification's.

    Returns:
        The source; of the training split only the first examples, if the specification says so.

    Raises:
        UsageError: if a name or an option is unknown.
        DataError: if a file is missing or not what it should be.
    """
    source = load(spec.data, split, data_dir=data_dir or spec.data_dir, **spec.loader_options())
    return source if spec.examples is None or split != "train" else FirstExamples(source, spec.examples)


def build_model(spec: RunSpec, source: Source, seed: int) -> nn.Module:
    """Build a specification's model; a baseline and a multi-rate model of one seed start from the same weights.

    With ``spec.start`` these are the weights of another plain VAE, which a multi-rate model reproduces at one beta.

    Args:
        spec: of the run.
        source: training data: their shape, the likelihood that suits them, their vocabulary.
        seed: of the run.

    Returns:
        A plain VAE, or a :class:`multirate.MultiRate` one.

    Raises:
        UsageError: if an option cannot be right, the model is not one for such data, or not the network that it should
            start from.
        MultirateError: as :func:`multirate.experiments.start.read_start` and :func:`multirate.convert`.
    """
    with seeded(seed, "init"):
        base = build(spec.model, **builder_options(spec, source))
    preserve_at = None
    if spec.start is not None:
        start = read_start(spec.start, source)
        load_start(base, start)
        preserve_at = preserved_beta(spec, start) if spec.beta is None else None
    if spec.beta is not None:
        return base
    with seeded(seed, "response"):
        return convert(base, BetaRange(**spec.range_options()), response=spec.response, preserve_at=preserve_at)


def builder_options(spec: RunSpec, source: Source) -> dict[str, Any]:
    """Return the keywords of :func:`multirate.models.build` for a specification and its data.

    Args:
        spec: of the run; what it says comes first.
        source: training data: their shape, the likelihood that suits them, their vocabulary.

    Raises:
        UsageError: if the model is not one for such data.
    """
    text = source.likelihood == "categorical"
    if text != (spec.model in TEXT_MODELS):
        kind, models = ("text", ", ".join(TEXT_MODELS)) if text else ("no text", "mlp or another one of images")
        raise UsageError(f"{source.name} is {kind}, which model {spec.model} does not take; choose --model {models}")
    suggested: str = "gaussian" if spec.model == "linear" else source.likelihood
    if spec.model == "nvae" and suggested == "gaussian" and source.details.get("scale") == BYTES:
        suggested = "discretized_logistic"
    options: dict[str, Any] = {"shape": source.shape, "likelihood": spec.likelihood or suggested}
    if source.vocabulary is not None:
        options["vocabulary_size"] = len(source.vocabulary)
    return options | spec.network_options()


def first_examples(source: Source, count: int) -> Tensor:
    """Return the first examples of a source, ``[count, *shape]``."""
    return source.batch(torch.arange(min(count, len(source))))
