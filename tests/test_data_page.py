"""The table of docs/data.md is what the code knows of the named data sets; MULTIRATE_REGENERATE=1 writes it anew."""

import importlib
import inspect
from pathlib import Path

from multirate.data.catalog import DATA_SETS
from multirate.data.loading import _LOADERS
from multirate.data.mapped import MEMORY_LIMIT
from multirate.data.names import DATA_NAMES
from pages import holds

PAGE = Path(__file__).resolve().parents[1] / "docs" / "data.md"
HEAD = "| name | what | shape | examples | likelihood | files | licence | options |\n" + "|---" * 8 + "|\n"

# What each loader's own test finds.
LIKELIHOODS = {
    "digits": "bernoulli",
    "mnist": "bernoulli",
    "mnist-larochelle": "bernoulli",
    "fashion-mnist": "gaussian",
    "omniglot": "bernoulli",
    "cifar10": "gaussian",
    "svhn": "gaussian",
    "celeba": "gaussian",
    "dsprites": "bernoulli",
    "ptb": "categorical",
    "yahoo": "categorical",
}
FURTHER = ("data_dir", "download")


def options(name: str) -> list[str]:
    module, function = _LOADERS[name].split(":")
    loader = getattr(importlib.import_module(f"multirate.data.{module}"), function)
    parameters = inspect.signature(loader).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in FURTHER]


def line(name: str) -> str:
    entry = DATA_SETS[name]
    shape = f"to {entry.shape[0]} words" if len(entry.shape) == 1 else "x".join(map(str, entry.shape))
    examples = " / ".join(f"{entry.examples[split]:,}" for split in ("train", "validation", "test"))
    files = ", ".join(f"`{file.name}`" for file in entry.files) or "none"
    offered = ", ".join(f"`{option}`" for option in options(name)) or "none"
    cells = (f"`{name}`", DATA_NAMES[name], shape, examples, LIKELIHOODS[name], files, entry.licence, offered)
    return f"| {' | '.join(cells)} |\n"


def test_the_page_lists_every_data_set_as_the_code_knows_it() -> None:
    holds(PAGE, "data sets", HEAD + "".join(map(line, DATA_NAMES)))


def test_the_page_names_the_limit_of_memory() -> None:
    assert f"up to {MEMORY_LIMIT:,.0f} MB is held in memory" in PAGE.read_text(encoding="utf-8")
