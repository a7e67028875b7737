"""The card of a published model: what it is, how to load it, how to choose beta, its curve, what it was trained on."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from multirate import __version__
from multirate.curve import Curve
from multirate.inference import base_of
from multirate.invariants import checked
from multirate.saving import built_in
from multirate.text import spoken
from multirate.wrapper import MultiRate

TAGS = ("beta-vae", "multi-rate", "rate-distortion", "variational-autoencoder")
_TRAINING = {
    "training_examples": "examples",
    "epochs": "epochs",
    "training_batch_size": "batch size",
    "learning_rate": "learning rate",
    "optimizer": "optimizer",
    "objective": "objective",
    "training_seed": "seed",
    "start": "started from",
}


@dataclass(frozen=True)
class Card:
    """What a card is written from.

    Args:
        name: of the repository, ``USER/NAME``, or of the folder.
        curve: of the model.
        figure: name of the curve's picture, beside the card.
        beta: of a plain or folded model, where it is known.
        folded: whether it was folded out of a multi-rate model, whose curve ``curve`` then is.
        data: name of what it was trained on, where it is known.
        training: facts of the training, as curves have them in their details.
        vocabulary: whether the words of a text model are beside the card.
    """

    name: str
    curve: Curve | None = None
    figure: str | None = None
    beta: float | None = None
    folded: bool = False
    data: str | None = None
    training: Mapping[str, Any] | None = None
    vocabulary: bool = False


def card_text(model: nn.Module, card: Card) -> str:
    """Write the body of a model card, in Markdown.

    Args:
        model: plain or multi-rate.
        card: what else is known.

    Returns:
        The text, without the block of metadata that the hub wants at its start.
    """
    title = card.name.rpartition("/")[2]
    sections = [
        f"# {_words(title)}",
        _what(model, card),
        _how(model, card),
        _curve(card),
        _training(card),
        _limits(model),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _words(text: Any) -> str:
    """Write what others have named as one line of Markdown that is text alone: no HTML, link, picture or code."""
    return re.sub(r"([\\`*\[\]<>|&!~])", r"\\\1", " ".join(str(text).split()))


def _what(model: nn.Module, card: Card) -> str:
    base = base_of(model)
    kind, likelihood = built_in(base)[0] or type(base).__name__, getattr(base, "likelihood", None)
    size = sum(parameter.numel() for parameter in base.parameters())
    facts = [f"architecture: `{kind}`, {size:,} parameters"]
    if isinstance(model, MultiRate):
        response = sum(parameter.numel() for parameter in model.response.parameters())
        facts[0] += f", and {response:,} in the response to {_weight(model)}"
        weight, span = _weight(model), model.beta_range
        line = (
            f"A variational autoencoder that serves every {weight} in [{span.low:g}, {span.high:g}], made and trained "
            f"once with multirate: each call names its {weight}."
        )
    else:
        of = "" if card.beta is None else f" of beta {card.beta:g}"
        line = f"A variational autoencoder{of}, " + ("folded out of a multi-rate one" if card.folded else "trained")
        line += " with multirate."
    facts += [f"likelihood: {spoken(likelihood)}"] if isinstance(likelihood, str) else []
    facts += [f"latents: {base.latents:,}"] if isinstance(getattr(base, "latents", None), int) else []
    shape = getattr(base, "shape", None)
    facts += [f"shape of an example: {list(shape)}"] if isinstance(shape, tuple) else []
    return line + "\n\n" + "\n".join(f"- {fact}" for fact in facts)


def _how(model: nn.Module, card: Card) -> str:
    base = base_of(model)
    own = built_in(base)[0] is None
    given = f", base={type(base).__name__}(...)" if own else ""
    lines = ["import multirate as mr"]
    lines += ["from multirate.data.vocabulary import Vocabulary"] if card.vocabulary else []
    lines += ["from multirate.integrations import hub", ""]
    lines += [f"model = hub.from_pretrained({_quoted(card)}{given})"]
    if isinstance(model, MultiRate):
        middle = f"{(model.beta_range.low * model.beta_range.high) ** 0.5:.3g}"
        lines += [
            f"model(x, beta={middle})            # each call says its {_weight(model)}: one number, or one an example",
            f"plain = mr.fold(model, {middle})   # the plain VAE there, without gates",
        ]
    else:
        lines += ["model(x)"]
    if card.vocabulary:
        lines += [f'words = Vocabulary.load(hub.download({_quoted(card)}) / "vocabulary.json")']
    text = "## Use\n\n```python\n" + "\n".join(lines) + "\n```\n\nTensors and JSON are all that is read."
    return (
        f"{text} `{type(base).__name__}` is its author's own class: pass an instance of it as `base`." if own else text
    )


def _quoted(card: Card) -> str:
    return json.dumps(card.name).replace("`", "\\u0060")


def _curve(card: Card) -> str:
    if card.curve is None:
        return ""
    curve = card.curve
    parts = [
        "## Rate and distortion",
        f"On the {_words(curve.split)} split of {_words(curve.data)}, {curve.examples:,} examples, {curve.samples} "
        f"posterior sample{'s' if curve.samples != 1 else ''} each. Rate (the KL divergence of the posterior from the "
        "prior) and distortion (the negative log-likelihood) are in nats per example, summed over latents and values, "
        "all constants kept; elbo is -(D + R), objective is D + beta R.",
    ]
    if curve.details.get("likelihood") == "squared_error":
        parts[-1] += " The distortion is the summed squared error, which has no constant to keep."
    if card.folded:
        parts[-1] += f" The curve is that of the multi-rate model; this one is its point at beta {card.beta:g}."
    parts += [f"**Mind this:** {_words(message)}." for message in checked(curve).warnings]
    parts += [f"![rate-distortion curve]({card.figure})"] if card.figure else []
    parts.append(_table(curve.table()))
    if len(curve) > 1 and not card.folded:
        rate = f"{float(curve.rates[[0, -1]].mean()):.3g}"
        called = "weight = model.beta_range.weight_of(beta)   # its lambda\n" if "lambda" in curve.measures else ""
        parts.append(
            f'```python\ncurve = mr.Curve.load(hub.download({_quoted(card)}) / "curve.json")\n'
            f'beta = curve.beta_for(rate={rate})   # or distortion=..., or curve.best("elbo")\n{called}```\n\n'
            "A small beta keeps more of the data and spends more nats; a large one saves them, until the posterior "
            "collapses at rate 0."
        )
    return "\n\n".join(parts)


def _table(rows: Sequence[Sequence[str]]) -> str:
    header, *body = rows
    lines = [[_words(spoken(name)) for name in header], ["---:"] * len(header), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _training(card: Card) -> str:
    training = card.training or {}
    lines = [f"- data: {_words(card.data)}"] if card.data else []
    lines += [f"- {name}: {_words(training[key])}" for key, name in _TRAINING.items() if training.get(key) is not None]
    return "\n".join(["## Training", "", *lines, f"- multirate: {__version__}"]) if lines else ""


def _limits(model: nn.Module) -> str:
    lines = ["What the model is for, and what its data leave out, is for whoever publishes it to state."]
    if isinstance(model, MultiRate):
        least, most = (end(model.beta_range.low, model.beta_range.high, model.beta_range.reach) for end in (min, max))
        lines.insert(0, f"A {_weight(model)} below {least:g} or above {most:g} is refused: it was not trained for.")
    return "## Limits\n\n" + " ".join(lines)


def _weight(model: MultiRate) -> str:
    return model.beta_range.name
