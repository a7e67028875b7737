"""Small modules of every gated layer type, shared by the tests of planning, conversion and folding."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from multirate.beta import BetaRange
from multirate.convert import MultiRate, convert

RANGE = BetaRange(0.01, 10.0)


class Pair(nn.Module):
    """An encoder and a decoder in a row; the decoder is one gated Linear."""

    def __init__(self, encoder: nn.Module, features: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = nn.Linear(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.encoder(x)
        if isinstance(hidden, tuple):
            hidden = hidden[0]
        return self.decoder(hidden.flatten(1) if hidden.ndim > 3 else hidden)


@dataclass(frozen=True)
class Case:
    """One encoder, the shape of one example, and the features that the encoder gives."""

    name: str
    encoder: Callable[[], nn.Module]
    shape: tuple[int, ...]
    features: int

    def build(self, dtype: torch.dtype = torch.float64) -> Pair:
        torch.manual_seed(0)
        pair = Pair(self.encoder(), self.features).to(dtype)
        for module in pair.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm | nn.InstanceNorm2d):
                if module.weight is not None:
                    nn.init.normal_(module.weight)
                if module.bias is not None:
                    nn.init.normal_(module.bias)
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
        return pair

    def batch(self, examples: int = 6, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randn(examples, *self.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


FEED_FORWARD = [
    Case("linear", lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU()), (5,), 4),
    Case("linear_no_bias", lambda: nn.Sequential(nn.Linear(5, 4, bias=False), nn.ReLU()), (5,), 4),
    Case("linear_on_steps", lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU()), (7, 5), 4),
    Case("conv1d", lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten()), (2, 6), 16),
    Case("conv2d", lambda: nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1), nn.ReLU()), (2, 6, 6), 36),
    Case("conv2d_groups", lambda: nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU()), (4, 4, 4), 24),
    Case("conv3d", lambda: nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU()), (1, 4, 4, 4), 32),
    Case("transposed1d", lambda: nn.Sequential(nn.ConvTranspose1d(2, 4, 3), nn.ReLU(), nn.Flatten()), (2, 4), 24),
    Case("transposed2d", lambda: nn.Sequential(nn.ConvTranspose2d(2, 4, 3, 2), nn.ReLU()), (2, 2, 2), 100),
    Case("transposed2d_groups", lambda: nn.Sequential(nn.ConvTranspose2d(6, 4, 3, groups=2), nn.ReLU()), (6, 2, 2), 64),
    Case("transposed3d", lambda: nn.Sequential(nn.ConvTranspose3d(2, 4, 2), nn.ReLU()), (2, 1, 1, 1), 32),
    Case("linear_batchnorm", lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU()), (5,), 4),
    Case("conv_batchnorm", lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), (2, 4, 4), 16),
    Case("conv_groupnorm", lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU()), (2, 4, 4), 16),
    Case(
        "conv_instancenorm",
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.ReLU()),
        (2, 4, 4),
        16,
    ),
    Case(
        "conv_layernorm", lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.LayerNorm([4, 2, 2]), nn.ReLU()), (2, 4, 4), 16
    ),
    Case("linear_layernorm", lambda: nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.ReLU()), (5,), 4),
    Case(
        "linear_layernorm_no_bias",
        lambda: nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4, bias=False), nn.ReLU()),
        (5,),
        4,
    ),
]

RECURRENT = [
    Case("lstm", lambda: nn.LSTM(5, 4, batch_first=True), (7, 5), 4),
    Case("lstm_no_bias", lambda: nn.LSTM(5, 4, batch_first=True, bias=False), (7, 5), 4),
    Case("lstm_deep", lambda: nn.LSTM(5, 4, 2, batch_first=True, bidirectional=True), (7, 5), 8),
    Case("lstm_projected", lambda: nn.LSTM(5, 4, batch_first=True, proj_size=2), (7, 5), 2),
    Case("gru", lambda: nn.GRU(5, 4, batch_first=True), (7, 5), 4),
    Case("gru_deep", lambda: nn.GRU(5, 4, 2, batch_first=True, bidirectional=True), (7, 5), 8),
]

ALL = FEED_FORWARD + RECURRENT


def moved(model: MultiRate, dtype: torch.dtype = torch.float32) -> MultiRate:
    """Move a model's gates away from where they start."""
    with torch.no_grad():
        for parameter in model.response.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, dtype=dtype, generator=torch.Generator().manual_seed(2)))
    return model.eval()


def randomized(case: Case, response: str = "film", dtype: torch.dtype = torch.float64) -> MultiRate:
    """Convert a case and move its gates away from where they start."""
    return moved(convert(case.build(dtype), RANGE, response=response), dtype)
