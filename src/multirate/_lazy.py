"""Public names that import their module when they are first used, so that the command line answers at once."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def attach(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make a package's ``__getattr__``, ``__dir__`` and ``__all__`` (PEP 562) from a table.

    Args:
        package: the package's ``__name__``.
        names: public name to the submodule, relative to the package, that defines it. A name that is its own
            submodule's path, such as ``"models": "models:"`` with a colon at the end, stands for the module itself.

    Returns:
        The three objects, in that order.
    """

    def load(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{names[name].rstrip(':')}")
        return module if names[name].endswith(":") else getattr(module, name)

    return load, lambda: sorted(names), list(names)
