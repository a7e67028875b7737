"""Train once, then read off the curve and take out the plain model of any beta.

Run it: python examples/own_vae.py (about ten seconds on a laptop's CPU, nothing to download).
"""

# %% [markdown]
# # Your own VAE, made multi-rate

# %%
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

import multirate as mr
from multirate.terms import bernoulli, diagonal_gaussian, distortion, gaussian_kl

# %% [markdown]
# ## A VAE
#
# As one writes it anyway; multirate asks only for `terms`: rate and distortion of each example, in nats.


# %%
class DigitVAE(nn.Module):
    """A small VAE as one writes it anyway; multirate asks only for ``terms``."""

    def __init__(self, pixels: int = 64, latents: int = 8, width: int = 128) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.heads = nn.Linear(width, 2 * latents)
        self.decoder = nn.Sequential(nn.Linear(latents, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.pixels = nn.Linear(width, pixels)

    def encode(self, x: Tensor) -> Distribution:
        """Return the posterior q(z|x) of a batch ``[B, 1, 8, 8]``."""
        mean, log_variance = self.heads(self.encoder(x)).chunk(2, dim=1)
        return diagonal_gaussian(mean, log_variance)

    def decode(self, z: Tensor) -> Distribution:
        """Return the likelihood p(x|z) of latents ``[B, Z]``."""
        return bernoulli(self.pixels(self.decoder(z)).unflatten(1, (1, 8, 8)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction, ``[B, 1, 8, 8]``."""
        return self.decode(self.encode(x).mean).mean

    def terms(self, x: Tensor) -> mr.Terms:
        """Return rate and distortion of each example, ``[B]``, in nats."""
        mean, log_variance = self.heads(self.encoder(x)).chunk(2, dim=1)
        z = diagonal_gaussian(mean, log_variance).rsample()
        return mr.Terms(gaussian_kl(mean, log_variance).sum(1), distortion(self.decode(z), x))


# %% [markdown]
# ## Convert and train
#
# The plan says what is gated. The layer that gives means and log-variances has no common name, so it is named: then
# latents have thresholds in beta too.


# %%
def trained(epochs: int) -> mr.MultiRate:
    """Return a multi-rate model of the class above, trained on digits."""
    torch.manual_seed(0)
    model = mr.convert(DigitVAE(), mr.BetaRange(0.01, 10.0), mean="heads", log_variance="heads")
    print(model.plan)
    mr.fit(model, mr.data.load("digits", "train"), epochs=epochs, seed=0, progress=False)
    return model


# %% [markdown]
# ## The curve, a beta, and a plain model
#
# The beta of a wanted rate is read off the curve; `fold` gives the plain model of that beta, of the class above.


# %%
def main(epochs: int = 60) -> mr.Curve:
    """Train a multi-rate model, measure it, and fold it at a wanted rate."""
    model, test = trained(epochs), mr.data.load("digits", "test")
    curve = mr.evaluate(model, test, betas=10)
    print(curve)

    rate = float(curve.rates[[0, -1]].mean())
    beta = curve.beta_for(rate=rate)
    plain = mr.fold(model, beta)
    x = test.batch(torch.arange(4))
    agree = torch.allclose(plain(x), model(x, beta=beta), atol=1e-5)
    print(f"for {rate:.1f} nats choose beta {beta:.3f}; the folded {type(plain).__name__} agrees: {agree}")
    return curve


# %%
if __name__ == "__main__":
    main()
