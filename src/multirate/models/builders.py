"""Built-in models by name."""

import inspect
from collections.abc import Callable
from typing import Any

from multirate.errors import UsageError
from multirate.models.convolutional import convnet
from multirate.models.gaussian import GaussianVAE
from multirate.models.hierarchical.model import NVAE, nvae
from multirate.models.linear_vae import linear
from multirate.models.lstm_vae import LSTMVAE, lstm
from multirate.models.names import MODEL_NAMES
from multirate.models.perceptron import mlp
from multirate.models.residual import resnet

_BUILDERS: dict[str, Callable[..., GaussianVAE | LSTMVAE | NVAE]] = {
    "linear": linear,
    "mlp": mlp,
    "convnet": convnet,
    "resnet": resnet,
    "lstm": lstm,
    "nvae": nvae,
}


def build(name: str, **options: Any) -> GaussianVAE | LSTMVAE | NVAE:
    """Build a model from its name and options, such as ``model.name`` and ``model.options`` of an existing one.

    Initial weights are drawn from the global generator: call ``torch.manual_seed`` before for a reproducible model.

    Args:
        name: one of :data:`multirate.models.names.MODEL_NAMES`.
        options: keywords of that builder; lists, as JSON gives them, stand for tuples.

    Returns:
        The model.

    Raises:
        UsageError: if the name or an option is unknown, listing the known ones, or an option cannot be right.
    """
    if name not in _BUILDERS:
        raise UsageError(f"no model {name!r}; choose one of {', '.join(MODEL_NAMES)}")
    known = inspect.signature(_BUILDERS[name]).parameters
    for option in options:
        if option not in known:
            raise UsageError(f"{name} has no option {option!r}; it takes {', '.join(known)}")
    return _BUILDERS[name](**{key: tuple(v) if isinstance(v, list) else v for key, v in options.items()})
