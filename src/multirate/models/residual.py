"""The residual network of the paper's image experiments."""

from collections.abc import Sequence

from torch import Tensor, nn

from multirate.errors import UsageError
from multirate.models.gaussian import GaussianVAE, check_image_shape, check_options, positive_integers

# Of the paper's network.
_WIDTH = 128


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each after a ReLU, added to the input: ``x + conv(relu(conv(relu(x))))``.

    No ReLU is in place: a gate may multiply a convolution's output, and the skip needs the input.

    Args:
        channels: of the input, the hidden layer and the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the input's shape, ``[B, C, H, W]``."""
        out: Tensor = x + self.second(self.activation(self.first(self.activation(x))))
        return out


def resnet(
    shape: Sequence[int] = (1, 28, 28), latents: int = 32, likelihood: str = "bernoulli", width: int = _WIDTH
) -> GaussianVAE:
    """Build the residual VAE of Bae et al. 2023, Appendix.

    The encoder is strided convolutions to 64, 128 and 128 channels (and once more 128 for 64x64 data) and two residual
    blocks, down to 4x4; the decoder mirrors it with transposed convolutions. There is no normalisation layer. For 28x28
    thirteen convolutions with 1,536 output channels are inside ``encoder`` and ``decoder``; with the defaults the model
    has 1,881,217 parameters. Another ``width`` scales all of these channels: the network is then not the paper's.

    Initialisation is PyTorch's own: call ``torch.manual_seed`` before for a reproducible one.

    Args:
        shape: ``(C, 28, 28)``, ``(C, 32, 32)`` or ``(C, 64, 64)``.
        latents: number of latents.
        likelihood: one of :data:`multirate.models.gaussian.LIKELIHOODS`.
        width: channels of the widest layers, an even number; 128 is the paper's network.

    Returns:
        The model.

    Raises:
        UsageError: if an option cannot be right.
    """
    check_options(shape, latents, likelihood)
    check_image_shape("resnet", shape)
    if not positive_integers([width]) or width % 2:
        raise UsageError(f"width must be an even integer of at least 2; got {width!r}")
    channels, size = shape[0], shape[1]
    features, narrow = width * 4 * 4, width // 2
    deeper = size == 64
    encoder: list[nn.Module] = [
        nn.Conv2d(channels, narrow, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(narrow, width, 4, stride=2, padding=1),
        nn.ReLU(),
    ]
    if deeper:
        encoder += [nn.Conv2d(width, width, 4, stride=2, padding=1), nn.ReLU()]
    encoder += [
        nn.Conv2d(width, width, 3, stride=2, padding=1),
        ResidualBlock(width),
        ResidualBlock(width),
        nn.ReLU(),
        nn.Flatten(),
    ]
    decoder: list[nn.Module] = [
        nn.Unflatten(1, (width, 4, 4)),
        nn.ReLU(),
        nn.ConvTranspose2d(width, width, 3, stride=2, padding=1, output_padding=int(size != 28)),
        ResidualBlock(width),
        ResidualBlock(width),
        nn.ReLU(),
    ]
    if deeper:
        decoder += [nn.ConvTranspose2d(width, width, 3, stride=2, padding=1, output_padding=1), nn.ReLU()]
    decoder += [nn.ConvTranspose2d(width, narrow, 3, stride=2, padding=1, output_padding=1), nn.ReLU()]
    return GaussianVAE(
        encoder=nn.Sequential(*encoder),
        mean=nn.Linear(features, latents),
        log_variance=nn.Linear(features, latents),
        stem=nn.Linear(latents, features),
        decoder=nn.Sequential(*decoder),
        output=nn.ConvTranspose2d(narrow, channels, 3, stride=2, padding=1, output_padding=1),
        shape=shape,
        latents=latents,
        likelihood=likelihood,
        name="resnet",
        options={"shape": list(shape), "latents": latents, "likelihood": likelihood}
        | ({} if width == _WIDTH else {"width": width}),
    )
