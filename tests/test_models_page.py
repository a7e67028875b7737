"""The tables of docs/models.md are what the code builds; MULTIRATE_REGENERATE=1 writes them anew."""

from pathlib import Path
from typing import Any

import pytest
import torch

from multirate import models
from multirate.plan import plan
from pages import holds

PAGE = Path(__file__).resolve().parents[1] / "docs" / "models.md"

GRAY, SMALL, LARGE = (1, 28, 28), (3, 32, 32), (3, 64, 64)
# What the page lists: for which data, the model, its options.
ROWS: list[tuple[str, str, dict[str, Any]]] = [
    ("MNIST, Omniglot", "linear", {"shape": GRAY}),
    ("MNIST, Omniglot", "mlp", {"shape": GRAY}),
    ("dSprites", "mlp", {"shape": (1, 64, 64), "latents": 10, "hidden": (1200, 1200), "decoder_activation": "tanh"}),
    ("MNIST, Omniglot", "convnet", {"shape": GRAY}),
    ("CIFAR-10", "convnet", {"shape": SMALL, "latents": 256, "likelihood": "gaussian"}),
    ("SVHN", "convnet", {"shape": SMALL, "latents": 32, "likelihood": "gaussian"}),
    ("CelebA", "convnet", {"shape": LARGE, "latents": 64, "likelihood": "gaussian"}),
    ("MNIST, Omniglot", "resnet", {"shape": GRAY}),
    ("CIFAR-10", "resnet", {"shape": SMALL, "latents": 256, "likelihood": "gaussian"}),
    ("SVHN", "resnet", {"shape": SMALL, "latents": 32, "likelihood": "gaussian"}),
    ("CelebA", "resnet", {"shape": LARGE, "latents": 64, "likelihood": "gaussian"}),
    ("MNIST, Omniglot", "nvae", {"shape": GRAY, "configuration": "small"}),
    ("MNIST, Omniglot", "nvae", {"shape": GRAY, "configuration": "mnist"}),
    ("CelebA", "nvae", {"shape": LARGE, "configuration": "celeba64", "likelihood": "discretized_logistic"}),
    ("Penn Treebank", "lstm", {"shape": (83,), "vocabulary_size": 10_000}),
    ("Yahoo Answers", "lstm", {"shape": (200,), "vocabulary_size": 20_001}),
]
HIDDEN = ("shape", "likelihood")


def line(data: str, name: str, options: dict[str, Any]) -> str:
    with torch.device("meta"):
        model = models.build(name, **options)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    gates = [plan(model, response=response).parameters for response in ("default", "paper")]
    shape = "x".join(map(str, options["shape"])) if name != "lstm" else "words"
    shown = ", ".join(f"{key}={value}" for key, value in options.items() if key not in HIDDEN) or "defaults"
    return f"| `{name}` | {data} | {shape} | {shown} | {parameters:,} | {gates[0]:,} | {gates[1]:,} |\n"


def table() -> str:
    head = "| model | data | shape | options | parameters | gates, default | gates, paper |\n"
    return head + "|---|---|---|---|---|---|---|\n" + "".join(line(*row) for row in ROWS)


@pytest.mark.slow
def test_the_page_lists_the_parameters_of_every_architecture() -> None:
    holds(PAGE, "parameters", table())


def test_every_model_is_listed() -> None:
    assert {name for _, name, _ in ROWS} == set(models.MODEL_NAMES)
