"""What is handed from one part to another does not change under way."""

import dataclasses
import importlib
import inspect
import pkgutil

import pytest

import multirate

# Integrations need other libraries; the command line is nobody's to import.
ELSEWHERE = ("multirate.integrations", "multirate.cli", "multirate.__main__")
MODULES = [
    module.name
    for module in pkgutil.walk_packages(multirate.__path__, "multirate.")
    if not module.name.startswith(ELSEWHERE)
]


@pytest.mark.parametrize("name", MODULES)
def test_every_dataclass_is_frozen(name: str) -> None:
    found = inspect.getmembers(importlib.import_module(name), inspect.isclass)

    kinds = [kind for _, kind in found if dataclasses.is_dataclass(kind) and kind.__module__ == name]
    assert [kind.__name__ for kind in kinds if not kind.__dataclass_params__.frozen] == []  # type: ignore[attr-defined]
