"""Names of the commands; imports nothing, so that ``multirate --help`` answers at once."""

COMMANDS: dict[str, str] = {
    "quickstart": "train a multi-rate VAE and four dedicated ones on digits, with curve, comparison and report",
    "data": "list and describe the data sets, or download one",
    "inspect": "show which layers of a model or run get gates, and what they cost",
    "train": "train one model: multi-rate, or a plain beta-VAE with --beta",
    "sweep": "train one dedicated beta-VAE a beta: the baselines",
    "evaluate": "measure a run's rate-distortion curve",
    "compare": "set a run's curve against baselines: gaps, BD-rate",
    "choose": "find the beta of a wanted rate or distortion, or of the best of a measure",
    "collapse": "say at which beta each latent dies, where the curve moves, how far a bound is",
    "fold": "write the plain VAE of one beta",
    "export": "take a run's model away: ONNX, torch.export, Hugging Face Hub",
    "text": "write sentences with a text run: reconstructions, samples, interpolations",
    "plot": "draw a run's curve again, with or without baselines",
    "reproduce": "make a figure or table of the paper, with its claims: fig1, fig4, ..., table2",
    "report": "write a run's self-contained report.html",
    "explore": "make and serve a page on which one drags beta and sees what the model makes",
}
