"""Names of the built-in models; imports nothing, so that the command line can list them at once."""

MODEL_DESCRIPTIONS: dict[str, str] = {
    "linear": "two-layer linear VAE whose optimum is known in closed form; any shape",
    "mlp": "fully connected, hidden layers 512 and 256; any shape",
    "convnet": "four strided convolutions with BatchNorm; 28x28 and 32x32",
    "resnet": "strided convolutions and residual blocks, no normalisation; 28x28 and 32x32",
}
MODEL_NAMES: tuple[str, ...] = tuple(MODEL_DESCRIPTIONS)
