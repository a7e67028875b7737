"""NVAE under a conversion, which knows nothing of it."""

import pytest
import torch

from multirate.beta import BetaRange
from multirate.convert import convert, plan
from multirate.data import load
from multirate.fold import fold
from multirate.images import prior_samples, reconstructions
from multirate.models.hierarchical.configurations import Configuration
from multirate.models.hierarchical.model import NVAE, nvae
from multirate.seeding import generator, seeded

RANGE = BetaRange(0.01, 10.0)
BETAS = [0.01, 0.03, 0.3, 1.0, 4.0, 10.0]
RESPONSES = ["default", "paper", "film"]
TINY = Configuration(groups=(1, 2), halvings=1, channels=4, latents=2, cells=1, outer_cells=1, expansion=2)


def images(examples=6):
    return torch.randint(2, (examples, 1, 28, 28), generator=generator(0, "images")).double()


def multirate(response="default", moved=True):
    """Convert a small model; move its gates and its BatchNorm statistics away from where they start."""
    torch.manual_seed(0)
    model = convert(NVAE((1, 28, 28), TINY).double(), RANGE, response=response)
    if moved:
        with torch.no_grad():
            for parameter in model.response.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
            for _ in range(3):
                model.terms(images(), beta=torch.tensor(BETAS, dtype=torch.float64))
    return model.eval()


def test_every_convolution_and_linear_layer_but_the_output_is_gated():
    base = nvae()
    layers = [n for n, m in base.named_modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    gated = {layer.name: layer for layer in plan(base).gated}
    assert set(layers) - set(gated) == {"output.1"}
    sides = {name: layer.side for name, layer in gated.items()}
    assert all(side == name.partition(".")[0] for name, side in sides.items())
    heads = [name for name in gated if name.startswith(("encoder.posteriors", "decoder.priors"))]
    assert len(heads) == 4 + 3


def test_gates_sit_after_the_normalization_that_follows_a_convolution():
    base = nvae()
    for layer in plan(base).gated:
        container, _, place = layer.name.rpartition(".")
        if not container.endswith("residual"):
            assert layer.at == layer.name
            continue
        following = base.get_submodule(container)[int(place) + 1]
        normalized = isinstance(following, torch.nn.BatchNorm2d)
        assert layer.at == (f"{container}.{int(place) + 1}" if normalized else layer.name)


@pytest.mark.slow
@pytest.mark.parametrize("response", RESPONSES)
def test_folded_equals_gated_in_float64(response):
    model, x = multirate(response), images()
    outcomes = []
    for beta in BETAS:
        plain = fold(model, beta)
        with seeded(0):
            found = plain.terms(x)
        with seeded(0):
            expected = model.terms(x, beta=beta)
        torch.testing.assert_close(found.group_rate, expected.group_rate, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found.distortion, expected.distortion, rtol=1e-10, atol=1e-10)
        assert list(plain.state_dict()) == list(model.base.state_dict())
        outcomes.append(expected.distortion.sum().item())
    assert len(set(outcomes)) == len(BETAS)


@pytest.mark.slow
def test_betas_of_a_batch_equal_one_at_a_time():
    model, x = multirate(), images()
    together = model(x, beta=torch.tensor(BETAS, dtype=torch.float64))
    single = torch.cat([model(x[i : i + 1], beta=beta) for i, beta in enumerate(BETAS)])
    torch.testing.assert_close(together, single, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("response", RESPONSES)
def test_no_gate_is_dead_and_every_gradient_is_finite_at_the_start(response):
    model, x = multirate(response, moved=False).train(), images()
    betas = torch.tensor(BETAS, dtype=torch.float64)
    model.terms(x, beta=betas).objective(betas).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    response_module = model.response
    for layer, (scale, shift) in zip(model.plan.gated, response_module.channel_slices(), strict=True):
        # Behind a ReLU that is off for all six examples nothing can have a gradient.
        behind_relu = layer.name.endswith("scale.0")
        for part in (scale, shift):
            if part is not None and not behind_relu:
                assert (response_module.bias.grad[part] != 0).all(), layer.name
                assert (response_module.weight.grad[part] != 0).all(), layer.name


def test_a_trained_model_is_preserved_at_one_beta():
    torch.manual_seed(0)
    base, x = NVAE((1, 28, 28), TINY).double(), images()
    base.terms(x)
    base.eval()
    torch.testing.assert_close(convert(base, RANGE, preserve_at=0.5)(x, beta=0.5), base(x), rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_pictures_are_drawn_with_the_same_noise_at_every_beta():
    model, x = multirate(), images()
    made = reconstructions(model, x, [0.1, 5.0])
    assert made.shape == (2, 6, 1, 28, 28)
    torch.testing.assert_close(torch.from_numpy(made[1]), model(x, beta=5.0).float())
    drawn = prior_samples(model, [0.1, 0.1, 5.0], n=3)
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()


def test_a_saved_multirate_model_is_loaded_again(tmp_path):
    import multirate

    torch.manual_seed(0)
    model = convert(nvae(), RANGE).eval()
    model.save(tmp_path / "model")
    loaded = multirate.load(tmp_path / "model")
    x = images(2).float()
    assert torch.equal(model(x, beta=0.5), loaded(x, beta=0.5))


@pytest.mark.slow
def test_training_on_real_digits_gives_a_curve(data_dir):
    source = load("mnist", split="train", data_dir=str(data_dir))
    x = source.batch(torch.arange(512))
    torch.manual_seed(0)
    configuration = Configuration(groups=(1, 1), halvings=1, channels=8, latents=4, cells=1, outer_cells=0, patch=2)
    model = convert(NVAE((1, 28, 28), configuration), RANGE)
    response = list(model.response.parameters())
    base = list(model.base.parameters())
    adam = torch.optim.Adam([{"params": base, "lr": 4e-3}, {"params": response, "lr": 1e-2}])
    losses = []
    for step in range(48):
        chosen = torch.randint(512, (32,), generator=generator(0, "order", step))
        betas = RANGE.sample(32, generator=generator(0, "beta", step))
        with seeded(0, "noise", step):
            loss = model.terms(x[chosen], beta=betas).objective(betas).mean()
        loss.backward()
        adam.step()
        adam.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-20:]) < 0.5 * sum(losses[:5]) * 4
    model.eval()
    with torch.no_grad(), seeded(0):
        points = [model.terms(x[:256], beta=beta) for beta in (0.01, 0.1, 1.0, 10.0)]
    rates, distortions = ([getattr(p, name).mean().item() for p in points] for name in ("rate", "distortion"))
    assert rates == sorted(rates, reverse=True)
    assert distortions == sorted(distortions)
