"""Small VAEs whose latents can be gated, written as users write theirs."""

import torch
from torch import Tensor, nn

from multirate.beta import BetaRange
from multirate.convert import MultiRate, convert
from multirate.terms import Terms

RANGE = BetaRange(0.01, 10.0)
BETAS = torch.tensor([0.01, 0.05, 0.3, 1.0, 4.0, 10.0], dtype=torch.float64)


class Small(nn.Module):
    """What the VAEs below share: heads, a decoder, and terms with one sample."""

    heads = ("mean", "log_variance")
    taker = "decoder.0"
    shape: tuple[int, ...] = (5,)
    latents: tuple[int, ...] = (3,)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(x)
        return self.get_submodule(self.heads[0])(features), self.get_submodule(self.heads[1])(features)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)

    def terms(self, x: Tensor) -> Terms:
        mean, log_variance = self.posterior(x)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        rate = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(1)
        return Terms(rate, 0.5 * (self.decode(z) - x).square().flatten(1).sum(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.posterior(x)
        return self.decode(mean), log_variance

    def batch(self, examples: int = 6, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randn(examples, *self.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))

    def latent(self, examples: int = 6, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randn(examples, *self.latents, dtype=dtype, generator=torch.Generator().manual_seed(2))


class Named(Small):
    """Heads and the decoder's input beside the two networks; the input layer is named when it is called."""

    heads, taker = ("fc_mu", "fc_logvar"), "decoder_input"

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(5, 6), nn.Tanh())
        self.fc_mu, self.fc_logvar = nn.Linear(6, 3), nn.Linear(6, 3)
        self.decoder_input = nn.Linear(3, 6)
        self.decoder = nn.Sequential(nn.Tanh(), nn.Linear(6, 6), nn.Tanh())
        self.output = nn.Linear(6, 5)

    def decode(self, z: Tensor) -> Tensor:
        return self.output(self.decoder(self.decoder_input(input=z)))


class Inner(Small):
    """Heads inside the encoder, as single-cell models have them."""

    heads = ("encoder.mean_encoder", "encoder.var_encoder")

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.net = nn.Sequential(nn.Linear(5, 6), nn.ReLU())
        self.encoder.mean_encoder, self.encoder.var_encoder = nn.Linear(6, 3), nn.Linear(6, 3)
        self.decoder = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 5))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder.net(x)
        return self.encoder.mean_encoder(features), self.encoder.var_encoder(features)


class Convolutional(Small):
    """Spatial latents between 1x1 heads and a transposed convolution."""

    shape, latents = (1, 6, 6), (3, 3, 3)

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU())
        self.mean, self.log_variance = nn.Conv2d(4, 3, 1), nn.Conv2d(4, 3, 3, padding=1)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(3, 4, 3, 2, 1, output_padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1)
        )


class Joint(Small):
    """One convolution gives means and log-variances, another takes the latents, as latent-diffusion VAEs have it."""

    heads, taker = ("quant_conv", "quant_conv"), "post_quant_conv"
    shape, latents = (1, 6, 6), (3, 3, 3)

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU())
        self.quant_conv, self.post_quant_conv = nn.Conv2d(4, 6, 1), nn.Conv2d(3, 4, 1)
        self.decoder = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(4, 1, 3, 2, 1, output_padding=1))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.quant_conv(self.encoder(x)).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(z))


class Deep(Small):
    """Heads of several layers, of which the last one counts, and a decoder that begins with a nested layer."""

    heads, taker = ("mu.2", "logvar.fc"), "decoder.0.0"

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(5, 6), nn.Tanh())
        self.mu = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))
        self.logvar = nn.Sequential()
        self.logvar.add_module("fc", nn.Linear(6, 3))
        self.decoder = nn.Sequential(nn.Sequential(nn.Linear(3, 6), nn.Tanh()), nn.Linear(6, 5))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(x)
        return self.mu(features), self.logvar(features)


VAES = [Named, Inner, Convolutional, Joint, Deep]


def build(vae: type[Small], dtype: torch.dtype = torch.float64) -> Small:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return vae().to(dtype)


def randomized(vae: type[Small], dtype: torch.dtype = torch.float64, beta_range: BetaRange = RANGE) -> MultiRate:
    """Convert a VAE, move its gates away from where they start and spread its thresholds over the range."""
    model = convert(build(vae, dtype), beta_range).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.response.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, dtype=torch.float64, generator=generator))
        model.response.thresholds.copy_(torch.linspace(-1.5, 1.5, len(model.response.thresholds)))
    return model


def nats(model: MultiRate) -> list[float]:
    """Return the thresholds in nats of log beta."""
    thresholds = model.response.thresholds.detach().double()
    return (thresholds * model.beta_range.log_std + model.beta_range.log_mean).tolist()
