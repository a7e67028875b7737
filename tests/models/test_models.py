import importlib
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from multirate import models
from multirate.errors import UsageError
from multirate.seeding import seeded

# Counted by hand from the layer list of each model: weights, then biases or BatchNorm scale and shift.
PARAMETERS = {
    "linear": 784 * 32 + 32 + 32 * 32 + 32 + 32 + 32 + 32 * 32 + 32 + 32 * 784 + 784,
    "mlp": 2 * (784 * 512 + 512 * 256) + 3 * 256 * 32 + 2 * (512 + 256) + 2 * 32 + 784,
    "convnet": 16 * (128 + 128 * 256 + 256 * 512 + 512 * 1024)
    + 2 * (128 + 256 + 512 + 1024)
    + 2 * (1024 * 32 + 32)
    + (32 + 1) * 16384
    + 9 * (1024 * 512 + 512 * 256 + 256)
    + 2 * (512 + 256)
    + 1,
    "resnet": 1_881_217,
}
IMAGE_SHAPES = [(1, 28, 28), (1, 32, 32), (3, 32, 32), (3, 64, 64)]
ANY_SHAPES = [(1, 28, 28), (3, 5, 7), (4,)]
SHAPES = [(name, shape) for name in ("convnet", "resnet") for shape in IMAGE_SHAPES]
SHAPES += [(name, shape) for name in ("linear", "mlp") for shape in ANY_SHAPES]
WRONG = [
    ("resnet", {"shape": (1, 48, 48)}, r"\(C, 28, 28\)"),
    ("convnet", {"shape": (784,)}, r"\(C, 28, 28\)"),
    ("mlp", {"hidden": ()}, "hidden"),
    ("mlp", {"shape": (0, 3)}, "shape"),
    ("mlp", {"decoder_activation": {"relu": 1}}, "decoder_activation must be one of relu, tanh; got {'relu': 1}"),
    ("linear", {"latents": 0}, "latents"),
    ("linear", {"likelihood": "poisson"}, "bernoulli, gaussian, squared_error, gaussian_learned"),
    ("mlp", {"width": 3}, "shape, latents, hidden, likelihood"),
    ("resnet", {"width": 33}, "width must be an even integer of at least 2; got 33"),
    ("resnet", {"width": 0}, "width must be an even integer of at least 2; got 0"),
    ("convnet", {"width": 0.5}, "width must be an integer of at least 1; got 0.5"),
    ("vgg", {}, "linear, mlp, convnet, resnet"),
]
WIDTHS = [2, 6, 128]


def make(name, **options):
    torch.manual_seed(0)
    return models.build(name, **options)


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_number_of_parameters_is_the_one_counted_by_hand(name):
    assert sum(parameter.numel() for parameter in make(name).parameters()) == PARAMETERS[name]


def test_resnet_has_thirteen_hidden_convolutions_with_1536_channels():
    model = make("resnet")
    hidden = [
        layer
        for side in (model.encoder, model.decoder)
        for layer in side.modules()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    ]
    assert len(hidden) == 13
    assert sum(layer.out_channels for layer in hidden) == 1536


@pytest.mark.parametrize("width", WIDTHS)
def test_a_resnet_of_any_width_has_the_parameters_counted_by_hand(width):
    half, square = width // 2, 9 * width * width + width
    first = 16 * half + half + 16 * half * width + width
    last = 9 * half * width + half + 9 * half + 1
    ends = 2 * (16 * width * 32 + 32) + 32 * 16 * width + 16 * width
    model = make("resnet", width=width)
    assert sum(p.numel() for p in model.parameters()) == first + 10 * square + last + ends


@pytest.mark.parametrize("width", WIDTHS)
def test_a_convnet_of_any_width_has_channels_in_the_papers_ratios(width):
    for shape, back in (((1, 28, 28), (4, 2)), ((3, 64, 64), (4, 2, 1))):
        with torch.device("meta"):
            model = models.convnet(shape, width=width)
        convolutions = [layer.out_channels for layer in model.encoder if isinstance(layer, nn.Conv2d)]
        transposed = [layer.out_channels for layer in model.decoder if isinstance(layer, nn.ConvTranspose2d)]
        assert convolutions == [width, 2 * width, 4 * width, 8 * width]
        assert transposed == [ratio * width for ratio in back]
        assert model.stem.out_features == 8 * width * 16


@pytest.mark.parametrize("name", ["convnet", "resnet"])
def test_a_width_is_kept_with_the_model_and_the_papers_is_not_named(name):
    assert "width" not in make(name, width=128).options
    model = make(name, width=6, latents=3)
    assert model.options["width"] == 6
    make(name, **json.loads(json.dumps(model.options))).load_state_dict(model.state_dict())


@pytest.mark.parametrize(("name", "shape"), [case for case in SHAPES if case[0] in ("convnet", "resnet")])
def test_a_narrow_model_takes_every_shape(name, shape):
    x = torch.rand(2, *shape)
    assert make(name, shape=shape, width=2, latents=3)(x).shape == x.shape


@pytest.mark.parametrize("name", PARAMETERS)
def test_no_activation_is_in_place(name):
    assert not any(getattr(layer, "inplace", False) for layer in make(name).modules())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), SHAPES)
def test_every_model_encodes_and_decodes_its_shape(name, shape):
    model = make(name, shape=shape, latents=5)
    x = torch.rand(2, *shape)
    assert model(x).shape == x.shape
    assert model.encode(x).rsample().shape == (2, 5)
    likelihood = model.decode(torch.zeros(2, 5))
    assert likelihood.batch_shape == (2,)
    assert likelihood.event_shape == shape
    assert model.prior().event_shape == (5,)
    assert model.terms(x).latent_rate.shape == (2, 5)


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_gets_a_gradient(name):
    model = make(name)
    model.terms(torch.rand(2, 1, 28, 28)).objective(1.0).mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("name", ["linear", "mlp", "resnet"])
def test_the_reconstruction_is_deterministic_and_the_same_in_training_and_evaluation(name):
    model, x = make(name), torch.rand(2, 1, 28, 28)
    assert torch.equal(model.train()(x), model.eval()(x))


def test_convnet_reconstructs_without_noise_in_evaluation():
    model, x = make("convnet").eval(), torch.rand(2, 1, 28, 28)
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_terms_equal_a_slow_reference(likelihood):
    model = make("mlp", shape=(1, 4, 4), latents=3, hidden=(8,), likelihood=likelihood).double()
    x = torch.rand(6, 1, 4, 4, dtype=torch.float64).round()
    with seeded(0):
        terms = model.terms(x)
    posterior = model.encode(x)
    with seeded(0):
        values = model.decode(posterior.rsample()).base_dist
    mean, std = posterior.mean.detach().numpy(), posterior.stddev.detach().numpy()
    for row in range(6):
        rate = sum(0.5 * (m**2 + s**2 - 1 - np.log(s**2)) for m, s in zip(mean[row], std[row], strict=True))
        pixels = x[row].flatten().numpy()
        if likelihood == "bernoulli":
            p = 1 / (1 + np.exp(-values.logits[row].detach().flatten().numpy()))
            distortion = -sum(np.log(p[i] if pixels[i] else 1 - p[i]) for i in range(16))
        else:
            error = pixels - values.mean[row].detach().flatten().numpy()
            distortion = sum(0.5 * e**2 + 0.5 * np.log(2 * np.pi) for e in error)
        assert terms.rate[row].item() == pytest.approx(rate, rel=1e-12)
        assert terms.distortion[row].item() == pytest.approx(distortion, rel=1e-12)


def test_terms_under_autocast_keep_full_precision():
    model, x = make("mlp"), torch.rand(2, 1, 28, 28)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = model.terms(x)
    assert terms.rate.dtype == terms.distortion.dtype == torch.float32


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_model_is_rebuilt_from_its_name_and_options(name):
    model = make(name, latents=7)
    other = make(model.name, **json.loads(json.dumps(model.options)))
    assert type(other) is type(model)
    assert other.shape == model.shape
    other.load_state_dict(model.state_dict())


@pytest.mark.parametrize(("name", "options", "message"), WRONG)
def test_a_wrong_option_is_refused_with_the_right_ones(name, options, message):
    with pytest.raises(UsageError, match=message):
        models.build(name, **options)


@pytest.mark.parametrize("x", [torch.zeros(2, 784), torch.zeros(2, 1, 28, 28, dtype=torch.int64)])
def test_data_of_another_shape_or_type_is_refused(x):
    with pytest.raises(UsageError, match=r"\[B, 1, 28, 28\]"):
        make("mlp").terms(x)


@pytest.mark.slow
def test_terms_compile_without_a_graph_break():
    model, x = make("mlp", hidden=(8,)), torch.rand(2, 1, 28, 28)
    compiled = torch.compile(model.terms, fullgraph=True, backend="eager")
    assert compiled(x).rate.allclose(model.terms(x).rate)


def test_linear_maps_are_the_products_of_the_layers():
    model = make("linear", shape=(2, 3), latents=4).double()
    decoder, encoder, variance = model.effective_parameters()
    first, second = model.encoder.mean
    assert encoder.allclose(second.weight @ first.weight, atol=1e-12)
    first, second = model.decoder
    assert decoder.allclose(second.weight @ first.weight, atol=1e-12)
    assert variance.allclose(torch.full((4,), math.exp(-1), dtype=torch.float64))


def test_linear_posterior_log_variance_is_its_layer_and_the_same_for_all_data():
    model = make("linear", shape=(3,), latents=2)
    with torch.no_grad():
        model.encoder.log_variance.weight.copy_(torch.tensor([[0.25], [-0.5]]))
    variance = model.encode(torch.randn(4, 3)).variance
    assert variance.log().allclose(torch.tensor([0.25, -0.5]).expand(4, 2))


def test_builders_stay_functions_after_their_files_are_imported():
    for file in ("convolutional", "linear_vae", "perceptron", "residual"):
        importlib.import_module(f"multirate.models.{file}")
    assert all(callable(getattr(models, name)) for name in models.MODEL_NAMES)


def test_names_import_no_torch():
    code = "import sys, multirate.models.names, multirate.training.config; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", models.MODEL_NAMES)
@pytest.mark.parametrize(
    ("option", "value"), [("shape", 28), ("shape", "28"), ("shape", None), ("shape", (1, True, 28)), ("latents", True)]
)
def test_an_option_of_the_wrong_type_is_refused_with_its_value(name, option, value):
    with pytest.raises(UsageError, match=rf"{option} must be .*; got "):
        models.build(name, **{option: value})


def test_hidden_widths_are_a_list():
    with pytest.raises(UsageError, match=r"hidden must be .*; got 512"):
        models.mlp(hidden=512)
