"""Names of the objectives and what beta weighs in each; imports no torch."""

OBJECTIVE_DESCRIPTIONS = {
    "beta-vae": "the rate",
    "beta-tcvae": "the total correlation of the latents; the rest of the rate has weight 1",
    "dip-vae-i": "how far the covariance of posterior means is from the identity, beside the rate",
    "dip-vae-ii": "how far the covariance of the aggregate posterior is from the identity, beside the rate",
    "info-vae": "how far the aggregate posterior is from the prior (maximum mean discrepancy), in place of the rate",
    "free-bits": "the rate, of which so many nats a latent are free",
    "sigma-vae": "nothing: a plain VAE whose likelihood has the best variance for each batch, one point of a curve",
}
OBJECTIVE_NAMES = tuple(OBJECTIVE_DESCRIPTIONS)
# Those that compare the posteriors of a batch: they need one Gaussian latent vector, and at least two examples.
POSTERIOR_OBJECTIVES = ("beta-tcvae", "dip-vae-i", "dip-vae-ii", "info-vae")
