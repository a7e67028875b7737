"""Names that training knows; imports nothing, so that the command line can list them."""

TRACKERS: dict[str, str] = {
    "tensorboard": "TensorBoard, files in the run's folder",
    "wandb": "Weights & Biases; WANDB_MODE=offline keeps it on this machine",
    "trackio": "trackio, a local dashboard",
}
