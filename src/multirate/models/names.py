"""Names of the built-in models; imports nothing, so that the command line can list them at once."""

MODEL_DESCRIPTIONS: dict[str, str] = {
    "linear": "two-layer linear VAE whose optimum is known in closed form; any shape",
    "mlp": "fully connected, hidden layers 512 and 256; any shape",
    "convnet": "four strided convolutions with BatchNorm; 28x28, 32x32, 64x64",
    "resnet": "strided convolutions and residual blocks, no normalisation; 28x28, 32x32, 64x64",
    "lstm": "sentences: an LSTM encoder, an LSTM decoder, one Gaussian latent vector; text",
    "nvae": "hierarchical: groups of latents over several scales, residual cells; 28x28, 32x32, 64x64",
}
MODEL_NAMES: tuple[str, ...] = tuple(MODEL_DESCRIPTIONS)
# Those that take text; all others take numbers.
TEXT_MODELS: tuple[str, ...] = ("lstm",)
