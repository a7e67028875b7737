import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import multirate

INIT = """
from multirate._lazy import attach
__getattr__, __dir__, __all__ = attach(__name__, {"Square": "shapes", "deep": "inner.place", "shapes": "shapes:"})
"""
HEAVY = ("torch", "numpy", "scipy", "matplotlib", "pandas")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    folder = tmp_path / "lazy_example"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text(INIT)
    (folder / "shapes.py").write_text("class Square: pass\n")
    (folder / "inner" / "__init__.py").write_text("")
    (folder / "inner" / "place.py").write_text("deep = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "lazy_example"]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module("lazy_example")


def test_a_name_imports_its_module_on_first_use(package: ModuleType) -> None:
    assert "lazy_example.shapes" not in sys.modules

    square = package.Square

    assert square is sys.modules["lazy_example.shapes"].Square
    assert package.Square is square
    assert "lazy_example.inner.place" not in sys.modules


def test_a_name_may_live_in_a_nested_module(package: ModuleType) -> None:
    assert package.deep == 7


def test_a_name_may_be_the_module_itself(package: ModuleType) -> None:
    assert isinstance(package.shapes, ModuleType)


def test_names_are_listed_and_can_all_be_imported(package: ModuleType) -> None:
    assert dir(package) == ["Square", "deep", "shapes"]
    assert package.__all__ == ["Square", "deep", "shapes"]
    names: dict[str, object] = {}
    exec("from lazy_example import *", names)
    assert {"Square", "deep", "shapes"} <= set(names)


def test_an_unknown_name_is_an_attribute_error(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match="module 'lazy_example' has no attribute 'Circle'"):
        _ = package.Circle
    assert not hasattr(package, "__path_that_is_not_there__")


@pytest.mark.parametrize("name", multirate.__all__)
def test_every_public_name_is_there_and_stays_the_same_object(name: str) -> None:
    assert getattr(multirate, name) is getattr(multirate, name)


@pytest.mark.parametrize("name", ["collapse", "convert", "evaluate", "fold", "plan"])
def test_a_function_stays_one_when_the_file_of_its_name_is_imported(name: str) -> None:
    # What Python itself does after it has imported multirate/<name>.py.
    setattr(multirate, name, ModuleType(f"multirate.{name}"))

    assert getattr(multirate, name).__name__ == name
    assert callable(getattr(multirate, name))


@pytest.mark.parametrize("package_name", ["data", "metrics", "models", "report", "training"])
def test_every_public_name_of_a_sub_package_is_there_and_stays_the_same_object(package_name: str) -> None:
    package = importlib.import_module(f"multirate.{package_name}")

    first = {name: getattr(package, name) for name in package.__all__}

    assert {name: getattr(package, name) for name in package.__all__} == first


@pytest.mark.parametrize(
    "module",
    ["multirate", "multirate.data", "multirate.metrics", "multirate.models", "multirate.report", "multirate.training"],
)
def test_importing_a_package_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*[name for name in {HEAVY} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
