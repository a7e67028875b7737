"""The residual network of the paper's image experiments."""

from collections.abc import Sequence

from torch import Tensor, nn

from multirate.models.gaussian import GaussianVAE, check_image_shape, check_options

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

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the input's shape, ``[B, C, H, W]``."""
        out: Tensor = x + self.second(self.first(x.relu()).relu())
        return out


def resnet(shape: Sequence[int] = (1, 28, 28), latents: int = 32, likelihood: str = "bernoulli") -> GaussianVAE:
    """Build the residual VAE of Bae et al. 2023, Appendix.

    The encoder is strided convolutions to 64, 128 and 128 channels (and once more 128 for 64x64 data) and two residual
    blocks, down to 4x4; the decoder mirrors it with transposed convolutions. There is no normalisation layer. For 28x28
    thirteen convolutions with 1,536 output channels are inside ``encoder`` and ``decoder``; with the defaults the model
    has 1,881,217 parameters.

    Initialisation is PyTorch's own: call ``torch.manual_seed`` before for a reproducible one.

    Args:
        shape: ``(C, 28, 28)``, ``(C, 32, 32)`` or ``(C, 64, 64)``.
        latents: number of latents.
        likelihood: one of :data:`multirate.models.gaussian.LIKELIHOODS`.

    Returns:
        The model.

    Raises:
        UsageError: if an option cannot be right.
    """
    check_options(shape, latents, likelihood)
    check_image_shape("resnet", shape)
    channels, size = shape[0], shape[1]
    features = _WIDTH * 4 * 4
    deeper = size == 64
    encoder: list[nn.Module] = [
        nn.Conv2d(channels, 64, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, _WIDTH, 4, stride=2, padding=1),
        nn.ReLU(),
    ]
    if deeper:
        encoder += [nn.Conv2d(_WIDTH, _WIDTH, 4, stride=2, padding=1), nn.ReLU()]
    encoder += [
        nn.Conv2d(_WIDTH, _WIDTH, 3, stride=2, padding=1),
        ResidualBlock(_WIDTH),
        ResidualBlock(_WIDTH),
        nn.ReLU(),
        nn.Flatten(),
    ]
    decoder: list[nn.Module] = [
        nn.Unflatten(1, (_WIDTH, 4, 4)),
        nn.ReLU(),
        nn.ConvTranspose2d(_WIDTH, _WIDTH, 3, stride=2, padding=1, output_padding=int(size != 28)),
        ResidualBlock(_WIDTH),
        ResidualBlock(_WIDTH),
        nn.ReLU(),
    ]
    if deeper:
        decoder += [nn.ConvTranspose2d(_WIDTH, _WIDTH, 3, stride=2, padding=1, output_padding=1), nn.ReLU()]
    decoder += [nn.ConvTranspose2d(_WIDTH, 64, 3, stride=2, padding=1, output_padding=1), nn.ReLU()]
    return GaussianVAE(
        encoder=nn.Sequential(*encoder),
        mean=nn.Linear(features, latents),
        log_variance=nn.Linear(features, latents),
        stem=nn.Linear(latents, features),
        decoder=nn.Sequential(*decoder),
        output=nn.ConvTranspose2d(64, channels, 3, stride=2, padding=1, output_padding=1),
        shape=shape,
        latents=latents,
        likelihood=likelihood,
        name="resnet",
        options={"shape": list(shape), "latents": latents, "likelihood": likelihood},
    )
