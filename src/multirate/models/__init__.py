"""Plain VAEs, without any gating code; each imports torch only when it is first used.

The files are not called after the functions they define: importing a submodule sets an attribute of the package, and
``multirate.models.resnet`` has to stay the function.
"""

from typing import TYPE_CHECKING

from multirate._lazy import attach

if TYPE_CHECKING:
    from multirate.models.builders import build
    from multirate.models.convolutional import convnet
    from multirate.models.gaussian import GaussianVAE
    from multirate.models.hierarchical.model import NVAE, nvae
    from multirate.models.linear_vae import LinearVAE, linear
    from multirate.models.lstm_vae import LSTMVAE, lstm
    from multirate.models.names import MODEL_DESCRIPTIONS, MODEL_NAMES, TEXT_MODELS
    from multirate.models.perceptron import mlp
    from multirate.models.residual import resnet

__all__ = [
    "LSTMVAE",
    "MODEL_DESCRIPTIONS",
    "MODEL_NAMES",
    "NVAE",
    "TEXT_MODELS",
    "GaussianVAE",
    "LinearVAE",
    "build",
    "convnet",
    "linear",
    "lstm",
    "mlp",
    "nvae",
    "resnet",
]

__getattr__, __dir__, _ = attach(
    __name__,
    {
        "MODEL_DESCRIPTIONS": "names",
        "MODEL_NAMES": "names",
        "TEXT_MODELS": "names",
        "GaussianVAE": "gaussian",
        "LSTMVAE": "lstm_vae",
        "LinearVAE": "linear_vae",
        "NVAE": "hierarchical.model",
        "build": "builders",
        "convnet": "convolutional",
        "linear": "linear_vae",
        "lstm": "lstm_vae",
        "mlp": "perceptron",
        "nvae": "hierarchical.model",
        "resnet": "residual",
    },
)
