"""The convolutional network with BatchNorm of the paper's image experiments."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from multirate.errors import UsageError
from multirate.models.gaussian import GaussianVAE, check_image_shape, check_options, positive_integers

# Of the paper's network: the channels of its first layer.
_WIDTH = 128


def convnet(
    shape: Sequence[int] = (1, 28, 28), latents: int = 32, likelihood: str = "bernoulli", width: int = _WIDTH
) -> GaussianVAE:
    """Build the convolutional VAE of Bae et al. 2023, Appendix.

    The encoder is four 4x4 convolutions of stride 2 to 128, 256, 512 and 1024 channels, each with BatchNorm and ReLU,
    down to 1x1 (28x28 data), 2x2 (32x32) or 4x4 (64x64). The decoder starts from 1024 channels of 4x4 and has
    transposed convolutions to 512 and 256 channels (and for 64x64 to 128) with BatchNorm and ReLU. Convolutions before
    a BatchNorm have no bias, which it would cancel. In training mode outputs depend on the whole batch, as always with
    BatchNorm. Another ``width`` scales all of these channels: the network is then not the paper's.

    Initialisation is PyTorch's own: call ``torch.manual_seed`` before for a reproducible one.

    Args:
        shape: ``(C, 28, 28)``, ``(C, 32, 32)`` or ``(C, 64, 64)``.
        latents: number of latents.
        likelihood: one of :data:`multirate.models.gaussian.LIKELIHOODS`.
        width: channels of the first layer, an eighth of the widest; 128 is the paper's network.

    Returns:
        The model.

    Raises:
        UsageError: if an option cannot be right.
    """
    check_options(shape, latents, likelihood)
    check_image_shape("convnet", shape)
    if not positive_integers([width]):
        raise UsageError(f"width must be an integer of at least 1; got {width!r}")
    channels, size, widest = shape[0], shape[1], 8 * width
    encoder: list[nn.Module] = []
    for inputs, outputs in pairwise((channels, width, 2 * width, 4 * width, widest)):
        encoder += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    features = widest * (size // 16) ** 2
    widths = (widest, 4 * width, 2 * width, width)[: 4 if size == 64 else 3]
    decoder: list[nn.Module] = [nn.Unflatten(1, (widest, 4, 4)), nn.ReLU()]
    for inputs, outputs in pairwise(widths):
        # From 4 to 7 in the first layer of 28x28 data, doubling everywhere else.
        padding = int(not (size == 28 and inputs == widest))
        decoder += [
            nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=padding, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    return GaussianVAE(
        encoder=nn.Sequential(*encoder, nn.Flatten()),
        mean=nn.Linear(features, latents),
        log_variance=nn.Linear(features, latents),
        stem=nn.Linear(latents, widest * 4 * 4),
        decoder=nn.Sequential(*decoder),
        output=nn.ConvTranspose2d(widths[-1], channels, 3, stride=2, padding=1, output_padding=1),
        shape=shape,
        latents=latents,
        likelihood=likelihood,
        name="convnet",
        options={"shape": list(shape), "latents": latents, "likelihood": likelihood}
        | ({} if width == _WIDTH else {"width": width}),
    )
