"""The paper's settings at each scale, and the runs that several recipes use."""

from collections.abc import Mapping
from typing import Any

from multirate.errors import UsageError
from multirate.experiments.reproduce.common import MULTI_RATE, PAPER_GATES, Setting, dedicated_arm, multirate_arm
from multirate.experiments.reproduce.naming import log_spaced
from multirate.experiments.reproduce.recipe import Arm, Evaluation, Scale
from multirate.experiments.spec import LikelihoodName, RunSpec
from multirate.training.config import TrainConfig

# Ten betas, of which 0.01, 0.1, 1 and 10 are four, and the eight of Fig. 1.
CURVE_BETAS = log_spaced(0.01, 10.0, 10)
EIGHT_BETAS = log_spaced(0.01, 10.0, 8)
FOUR_BETAS = (0.01, 0.1, 1.0, 10.0)

# Of the dedicated models, and where multi-rate ones are measured: everywhere where a recipe has a dedicated one.
DEDICATED_BETAS: Mapping[Scale, tuple[float, ...]] = {"smoke": (0.1, 1.0), "cpu": FOUR_BETAS, "paper": CURVE_BETAS}
MEASURED_BETAS: Mapping[Scale, tuple[float, ...]] = {
    "smoke": FOUR_BETAS,
    "cpu": CURVE_BETAS,
    "paper": tuple(sorted({*CURVE_BETAS, *EIGHT_BETAS})),
}

PAPER_SEEDS = (0, 1, 2)
# The paper chooses each step size on the validation split, from a grid that it does not give: this one is ours.
LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
PAPER_EPOCHS = 200
WARMUP_EPOCHS = 10

DATA_TITLES = {
    "digits": "digits",
    "mnist": "MNIST",
    "omniglot": "Omniglot",
    "cifar10": "CIFAR-10",
    "svhn": "SVHN",
    "celeba": "CelebA",
    "yahoo": "Yahoo",
}
MODEL_TITLES = {"linear": "linear", "convnet": "ConvNet", "resnet": "ResNet", "lstm": "LSTM", "nvae": "NVAE"}
# Where they are not 32; and which data are in colour, with squared error as distortion.
LATENTS = {"cifar10": 256, "celeba": 64}
COLOUR = ("cifar10", "svhn", "celeba")

# Channels of the networks: a step of 128 images of MNIST takes about as long in both. The paper's have 128.
_WIDTH: Mapping[Scale, Mapping[str, int]] = {
    "smoke": {"resnet": 8, "convnet": 8},
    "cpu": {"resnet": 32, "convnet": 24},
    "paper": {},
}
_CPU_EPOCHS = {"mnist": 4, "omniglot": 8}
_SMOKE_EPOCHS = 2


def panel_title(data: str, model: str) -> str:
    """Return the title of a panel, such as ``MNIST, ResNet``."""
    return f"{DATA_TITLES[data]}, {MODEL_TITLES[model]}"


def paper_config(data: str, **options: Any) -> TrainConfig:
    """Return the paper's training: Adam, batch 128, 200 epochs, warm-up, and a cosine decay over the whole rest.

    The warm-up of 10 epochs and Adam's usual constants are this recipe's choice, where the paper says no more.

    Args:
        data: name of the data set, whose size tells the steps of an epoch.
        options: in place of the paper's usual ones.
    """
    from multirate.data.catalog import DATA_SETS

    usual: dict[str, Any] = {"epochs": PAPER_EPOCHS, "batch_size": 128, "decay": "cosine", "decay_fraction": 1.0}
    chosen = {"adam_beta2": 0.999} | usual | options
    steps = DATA_SETS[data].examples["train"] // chosen["batch_size"]
    return TrainConfig(warmup_steps=WARMUP_EPOCHS * steps, **chosen)


def image_setting(data: str, model: str, scale: Scale, *, squared_error: bool = False) -> Setting:
    """Return the setting of a convolutional network on images.

    At ``smoke`` the data are the digits of scikit-learn, enlarged to 28x28, whatever is asked for, and the network is
    8 channels wide; at ``cpu`` it is 32 (ResNet) or 24 (ConvNet) wide; at ``paper`` the training is the paper's.

    Args:
        data: ``mnist`` or ``omniglot``; at ``paper`` also ``cifar10``, ``svhn`` or ``celeba``.
        model: ``resnet`` or ``convnet``.
        scale: of the recipe.
        squared_error: whether the distortion is a squared error where it would be a likelihood of bits.

    Raises:
        UsageError: if the data set is not one of that scale.
    """
    data = "digits" if scale == "smoke" else data
    if scale == "cpu" and data not in _CPU_EPOCHS:
        raise UsageError(f"scale cpu has no setting for data {data}; choose one of {', '.join(_CPU_EPOCHS)}")
    width = _WIDTH[scale].get(model)
    likelihood: LikelihoodName | None = "squared_error" if squared_error or data in COLOUR else None
    spec = RunSpec(
        data=data,
        data_options=("size=28",) if data == "digits" else (),
        model=model,
        model_options=() if width is None else (f"width={width}",),
        latents=LATENTS.get(data),
        likelihood=likelihood,
    )
    name = f"{data}-{model}" + ("" if width is None else f"-w{width}") + ("-squared" if squared_error else "")
    title = panel_title(data, model) + (", squared error" if squared_error else "")
    evaluation = Evaluation(betas=MEASURED_BETAS[scale])
    common: dict[str, Any] = {"panel": title, "name": name, "spec": spec, "evaluation": evaluation}
    if scale == "paper":
        return Setting(
            **common,
            config=paper_config(data, channels_last=True),
            seeds=PAPER_SEEDS,
            learning_rates=LEARNING_RATES,
        )
    epochs = _SMOKE_EPOCHS if scale == "smoke" else _CPU_EPOCHS[data]
    return Setting(**common, config=TrainConfig(epochs=epochs, channels_last=True))


def text_setting() -> Setting:
    """Return the paper's LSTM on Yahoo Answers: batch 32, the step size halved where validation does not improve.

    The number of epochs is that of the images, and gradients are clipped at norm 5: the paper's text gives neither.
    """
    spec = RunSpec(data="yahoo", model="lstm")
    config = paper_config("yahoo", batch_size=32, decay="plateau", decay_fraction=0.0, clip_norm=5.0)
    return Setting(
        panel=panel_title("yahoo", "lstm"),
        name="yahoo-lstm",
        spec=spec,
        config=config,
        evaluation=Evaluation(betas=MEASURED_BETAS["paper"]),
        seeds=PAPER_SEEDS,
        learning_rates=LEARNING_RATES,
    )


def hierarchical_setting(data: str) -> Setting:
    """Return the paper's NVAE: Adamax, batch 256 (16 for CelebA), 400 epochs.

    The weight of the spectral regularisation is this recipe's choice. Bits of 256 levels make the distortion of CelebA,
    so that it can be given in bits per dimension.

    Args:
        data: ``mnist``, ``omniglot`` or ``celeba``.
    """
    configuration = "celeba64" if data == "celeba" else "mnist"
    spec = RunSpec(data=data, model="nvae", model_options=(f"configuration={configuration}",))
    config = paper_config(
        data,
        epochs=2 * PAPER_EPOCHS,
        batch_size=16 if data == "celeba" else 256,
        optimizer="adamax",
        spectral_regularization=0.01,
        channels_last=True,
    )
    return Setting(
        panel=panel_title(data, "nvae"),
        name=f"{data}-nvae",
        spec=spec,
        config=config,
        evaluation=Evaluation(betas=MEASURED_BETAS["paper"]),
        seeds=PAPER_SEEDS,
        learning_rates=LEARNING_RATES,
    )


def multirate_arms(setting: Setting, scale: Scale) -> tuple[Arm, ...]:
    """Return this library's multi-rate model and one with the paper's gates; at ``paper`` the latter alone.

    Args:
        setting: where.
        scale: of the recipe.
    """
    if scale == "paper":
        return (multirate_arm(setting, label=MULTI_RATE, response="paper"),)
    return multirate_arm(setting), multirate_arm(setting, label=PAPER_GATES, response="paper")


def dedicated(setting: Setting, scale: Scale) -> Arm:
    """Return dedicated beta-VAEs at the scale's betas; four of them for the paper's NVAE.

    Args:
        setting: where.
        scale: of the recipe.
    """
    return dedicated_arm(setting, FOUR_BETAS if setting.spec.model == "nvae" else DEDICATED_BETAS[scale])
