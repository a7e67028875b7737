"""The residual cells that hierarchical VAEs are made of (Vahdat and Kautz 2020, Section 3.1)."""

from torch import Tensor, nn

_SQUEEZE = 16
_LEAST_SQUEEZED = 4
# Scale of the last BatchNorm of a decoder cell at the start, so that deep stacks start near their skip connections.
_FIRST_RESIDUAL = 0.3


class SqueezeExcite(nn.Module):
    """Scale each channel by a number in (0, 1) that depends on all channels' means (Hu et al. 2018).

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(channels // _SQUEEZE, _LEAST_SQUEEZED)
        self.scale = nn.Sequential(
            nn.Linear(channels, squeezed), nn.ReLU(), nn.Linear(squeezed, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the input's shape, ``[B, C, H, W]``."""
        scale: Tensor = self.scale(x.mean((2, 3)))
        return x * scale[:, :, None, None]


class Cell(nn.Module):
    """A residual cell: ``skip(x) + residual(x)``.

    No nonlinearity is in place: a gate may multiply a layer's output, and the skip needs the input.

    Args:
        residual: from input to output.
        skip: brings the input to the output's shape; None if it has it already.
    """

    def __init__(self, residual: nn.Sequential, skip: nn.Sequential | None = None) -> None:
        super().__init__()
        self.residual = residual
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, C', H', W']`` for ``[B, C, H, W]``."""
        kept = x if self.skip is None else self.skip(x)
        out: Tensor = kept + self.residual(x)
        return out


def encoder_cell(inputs: int, outputs: int, stride: int = 1) -> Cell:
    """Build BN-Swish-Conv3x3-BN-Swish-Conv3x3-SE; with stride 2 it halves height and width.

    Args:
        inputs: channels.
        outputs: channels.
        stride: 1 or 2.
    """
    residual = nn.Sequential(
        nn.BatchNorm2d(inputs),
        nn.SiLU(),
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        SqueezeExcite(outputs),
    )
    if stride == 1 and inputs == outputs:
        return Cell(residual)
    return Cell(residual, nn.Sequential(nn.AvgPool2d(stride), nn.Conv2d(inputs, outputs, 1)))


def decoder_cell(inputs: int, outputs: int, expansion: int, upsample: int = 1) -> Cell:
    """Build BN-Conv1x1-BN-Swish-depthwise 5x5-BN-Swish-Conv1x1-BN-SE; with upsample 2 it doubles height and width.

    The first convolution goes to ``expansion`` times the output's channels, and the upsampling, to the nearest pixel,
    follows after it and its nonlinearity, which it does not change. Convolutions before a BatchNorm have no bias.

    Args:
        inputs: channels.
        outputs: channels.
        expansion: of the channels around the depthwise convolution.
        upsample: 1 or 2.
    """
    wide = expansion * outputs
    larger = [nn.Upsample(scale_factor=upsample)] if upsample > 1 else []
    last = nn.BatchNorm2d(outputs)
    nn.init.constant_(last.weight, _FIRST_RESIDUAL)
    residual = nn.Sequential(
        nn.BatchNorm2d(inputs),
        nn.Conv2d(inputs, wide, 1, bias=False),
        nn.BatchNorm2d(wide),
        nn.SiLU(),
        *larger,
        nn.Conv2d(wide, wide, 5, padding=2, groups=wide, bias=False),
        nn.BatchNorm2d(wide),
        nn.SiLU(),
        nn.Conv2d(wide, outputs, 1, bias=False),
        last,
        SqueezeExcite(outputs),
    )
    if upsample == 1 and inputs == outputs:
        return Cell(residual)
    return Cell(residual, nn.Sequential(nn.Conv2d(inputs, outputs, 1), *larger))
