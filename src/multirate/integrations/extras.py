"""Libraries that not every user has."""

import importlib
from types import ModuleType

from multirate.errors import UsageError


def require(module: str, *, extra: str) -> ModuleType:
    """Import a library that one of the package's extras installs.

    Args:
        module: its import name, such as ``onnxruntime``.
        extra: of multirate, such as ``onnx``.

    Returns:
        The module.

    Raises:
        UsageError: if it is not installed, naming the extra.
    """
    library = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != library:
            raise
        raise UsageError(
            f"this needs {library}, which is not installed; get it with: pip install 'multirate[{extra}]'"
        ) from error
