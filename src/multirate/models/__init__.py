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
    from multirate.models.linear_vae import LinearVAE, linear
    from multirate.models.names import MODEL_DESCRIPTIONS, MODEL_NAMES
    from multirate.models.perceptron import mlp
    from multirate.models.residual import resnet

__all__ = [
    "MODEL_DESCRIPTIONS",
    "MODEL_NAMES",
    "GaussianVAE",
    "LinearVAE",
    "build",
    "convnet",
    "linear",
    "mlp",
    "resnet",
]

__getattr__, __dir__, _ = attach(
    __name__,
    {
        "MODEL_DESCRIPTIONS": "names",
        "MODEL_NAMES": "names",
        "GaussianVAE": "gaussian",
        "LinearVAE": "linear_vae",
        "build": "builders",
        "convnet": "convolutional",
        "linear": "linear_vae",
        "mlp": "perceptron",
        "resnet": "residual",
    },
)
