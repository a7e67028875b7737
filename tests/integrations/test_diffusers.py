"""diffusers' AutoencoderKL: rate and distortion, conversion, folding, its own methods, further losses."""

import importlib.util
import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import multirate as mr
from multirate.errors import BetaError, ConversionError, DataError, UsageError
from multirate.seeding import seeded

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install 'multirate[diffusers]'")

from multirate.integrations import diffusers as kl  # noqa: E402  # after the skip

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "diffusers_autoencoder.py"
BETAS = (1e-7, 1e-6, 3e-3, 0.4, 1.0)
RANGE = mr.BetaRange(1e-7, 1.0)
# Configurations that differ in where the latents are made and taken, and in what is between.
KINDS = {
    "as in Stable Diffusion": {},
    "without quant_conv": {"use_quant_conv": False, "use_post_quant_conv": False},
    "without attention": {"mid_block_add_attention": False},
    "deeper": {"layers_per_block": 2},
}


def autoencoder(seed=0, **options):
    size = {"block_out_channels": (8, 16), "norm_num_groups": 4, "latent_channels": 3, "sample_size": 16}
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    with seeded(seed):
        return diffusers.AutoencoderKL(**(size | blocks | options)).eval()


def images(count=4, side=16, dtype=torch.float64, seed=1):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator, dtype=torch.float64) * 2 - 1
    return nn.functional.interpolate(coarse, (side, side), mode="bilinear").to(dtype)


def trained(vae, steps=8):
    """Train in place, in float64, so that no weight is where it started."""
    vae.double()
    mr.fit(
        kl.adapt(vae), images(32), beta=1e-3, epochs=steps, batch_size=32, learning_rate=5e-3, progress=False, seed=0
    )
    return vae


def multirate(vae, **options):
    """Convert and move the gates from their start, so that they differ from beta to beta."""
    model = kl.convert(vae.double(), RANGE, **options)
    with seeded(3), torch.no_grad():
        for name, parameter in model.response.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (0.02 if name == "thresholds" else 0.1))
    return model


@pytest.fixture(scope="module")
def changed():
    """A multi-rate model whose gates follow beta, in float64."""
    return multirate(autoencoder())


# What the terms are


def test_the_rate_is_the_librarys_own_kl_and_the_noise_its_own_sample():
    vae, x = autoencoder().double(), images()
    with seeded(5):
        terms = kl.adapt(vae).terms(x)
    with seeded(5):
        posterior = vae.encode(x).latent_dist
        reconstruction = vae.decode(posterior.sample()).sample
    torch.testing.assert_close(terms.rate, posterior.kl(), rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(terms.latent_rate.sum(1), terms.rate)
    torch.testing.assert_close(terms.reconstruction.likelihood.mean, reconstruction)


@pytest.mark.parametrize(
    ("likelihood", "scale", "by_hand"),
    [
        ("laplace", 1.0, lambda e: e.abs().sum() + 768 * math.log(2)),
        ("laplace", 0.3, lambda e: e.abs().sum() / 0.3 + 768 * math.log(0.6)),
        ("gaussian", 1.0, lambda e: e.square().sum() / 2 + 384 * math.log(2 * math.pi)),
        ("gaussian", 0.3, lambda e: e.square().sum() / 0.18 + 384 * math.log(0.18 * math.pi)),
        ("squared_error", 1.0, lambda e: e.square().sum()),
    ],
)
def test_the_distortion_is_the_likelihood_written_out(likelihood, scale, by_hand):
    vae, x = autoencoder().double(), images()
    terms = kl.adapt(vae, likelihood=likelihood, scale=scale).terms(x)
    errors = x - terms.reconstruction.likelihood.mean
    expected = torch.stack([by_hand(error) for error in errors])
    torch.testing.assert_close(terms.distortion, expected, rtol=1e-10, atol=1e-9)


def test_the_objective_is_that_of_latent_diffusion_but_for_its_constant():
    """Sums over values and latents, means over the batch, as in its loss with kl_weight 1e-6 and log-variance 0."""
    vae, x = autoencoder().double(), images()
    with seeded(5):
        ours = kl.adapt(vae).terms(x).objective(1e-6).mean()
    with seeded(5):
        posterior = vae.encode(x).latent_dist
        absolute = (x - vae.decode(posterior.sample()).sample).abs()
    theirs = absolute.sum() / len(x) + 1e-6 * posterior.kl().sum() / len(x)
    torch.testing.assert_close(ours, theirs + x[0].numel() * math.log(2), rtol=1e-12, atol=1e-9)


def test_a_learnt_scale_is_best_at_the_mean_absolute_error():
    """The maximum likelihood of a Laplace distribution: its slope is 0 there."""
    vae, x = autoencoder().double(), images()
    with seeded(5):
        error = (x - kl.adapt(vae).terms(x).reconstruction.likelihood.mean).abs().mean().item()
    adapter = kl.adapt(vae, scale=error, learn_scale=True)
    with seeded(5):
        adapter.terms(x).distortion.mean().backward()
    assert adapter.log_scale.grad.item() == pytest.approx(0, abs=1e-9)
    assert "log_scale" in dict(adapter.named_parameters())


# Conversion


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_but_the_last_is_gated_and_all_latents(kind):
    vae = autoencoder(**KINDS[kind])
    model = kl.convert(vae, RANGE)
    layers = {f"vae.{n}" for n, m in vae.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert {layer.name for layer in model.plan.gated} == layers - {"vae.decoder.conv_out"}
    assert model.plan.latents == vae.config.latent_channels
    assert not model.plan.missing
    sites = {layer.gate for layer in model.plan.gated if layer.side == "latent"}
    assert sites == {"latent moments", "latent input"}


def test_gates_sit_after_the_normalization_that_follows_a_layer():
    at = {layer.name: layer.at for layer in kl.convert(autoencoder(), RANGE).plan.gated}
    resnet = "vae.encoder.mid_block.resnets.0"
    assert at[f"{resnet}.conv1"] == f"{resnet}.norm2"
    assert at[f"{resnet}.conv2"] == f"{resnet}.conv2"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [False, True], ids=["random weights", "trained weights"])
@pytest.mark.parametrize("beta", [1e-6, 0.05])
def test_the_base_is_preserved_at_one_beta(kind, training, beta):
    vae, x = autoencoder(**KINDS[kind]).double(), images()
    if training:
        vae = trained(vae, steps=3)
    model = kl.convert(vae, RANGE, preserve_at=beta)
    before, after = vae.encode(x).latent_dist, None
    with model.at(beta):
        after = model.base.vae.encode(x).latent_dist
        decoded = model.base.vae.decode(before.mean).sample
    torch.testing.assert_close(after.mean, before.mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(after.logvar, before.logvar, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(decoded, vae.decode(before.mean).sample, rtol=1e-9, atol=1e-9)


def test_the_librarys_model_is_left_as_it_was():
    vae = autoencoder()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    kl.convert(vae, RANGE, preserve_at=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    assert not any(module._forward_hooks for module in vae.modules())


def test_large_beta_shuts_every_latent_of_a_converted_model():
    """Above all thresholds the posterior is the prior to within its smooth gates, whatever the image."""
    model, x = kl.convert(autoencoder().double(), mr.BetaRange(1e-7, 1e3)), images()
    with torch.no_grad():
        model.response.thresholds.fill_(-1.0)
        assert float(model.terms(x, beta=1e3).rate.max()) < 1e-2 < float(model.terms(x, beta=1e-7).rate.min())


# Folding


@pytest.mark.slow
@pytest.mark.parametrize("beta", BETAS)
def test_the_folded_model_computes_what_the_multi_rate_one_does(changed, beta):
    plain, x = kl.fold(changed, beta), images()
    with changed.at(beta):
        posterior = changed.base.vae.encode(x).latent_dist
        decoded = changed.base.vae.decode(posterior.mean).sample
    torch.testing.assert_close(plain.encode(x).latent_dist.parameters, posterior.parameters, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(plain.decode(posterior.mean).sample, decoded, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(plain(x).sample, changed(x, beta=beta), rtol=1e-9, atol=1e-9)


def test_the_folded_model_has_class_keys_and_configuration_of_the_base_and_no_hooks(changed):
    vae, plain = autoencoder(), kl.fold(changed, 0.1)
    assert type(plain) is diffusers.AutoencoderKL
    assert list(plain.state_dict()) == list(vae.state_dict())
    assert dict(plain.config) == dict(vae.config)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in plain.modules())
    assert plain.encoder.conv_in.weight.data_ptr() != changed.base.vae.encoder.conv_in.weight.data_ptr()


def test_the_folded_model_is_saved_and_loaded_by_the_library(changed, tmp_path):
    plain, x = kl.fold(changed, 0.1).float(), images(dtype=torch.float32)
    plain.save_pretrained(tmp_path / "folded")
    autoencoder().save_pretrained(tmp_path / "base")
    again = diffusers.AutoencoderKL.from_pretrained(tmp_path / "folded")
    assert torch.equal(again(x).sample, plain(x).sample)
    files = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("folded", "base")]
    assert files[0] == files[1]
    configurations = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("folded", "base")]
    assert configurations[0] == configurations[1]
    assert all(b"multirate" not in path.read_bytes() for path in (tmp_path / "folded").iterdir())


def test_a_multi_rate_model_is_saved_and_loaded(changed, tmp_path):
    changed.save(tmp_path)
    again = mr.load(tmp_path, base=kl.adapt(autoencoder(seed=9)))
    x = images()
    assert torch.equal(again(x, beta=0.3), changed.eval()(x, beta=0.3))


# The library's own methods


@pytest.mark.slow
def test_slicing_and_tiling_do_at_a_beta_what_they_do_in_the_folded_model(changed):
    plain, x = kl.fold(changed, 0.2), images(3, side=40)
    results = []
    for vae, hold in ((plain, None), (changed.base.vae, changed)):
        vae.enable_tiling()
        vae.enable_slicing()
        with hold.at(0.2) if hold is not None else torch.enable_grad():
            tiled = vae.decode(vae.encode(x).latent_dist.mode()).sample
            vae.disable_tiling()
            sliced = vae.encode(x).latent_dist.mode()
            vae.disable_slicing()
            whole = vae.encode(x).latent_dist.mode()
        torch.testing.assert_close(sliced, whole, rtol=1e-9, atol=1e-9)
        results.append(tiled)
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_tiling_takes_one_beta_an_example(changed):
    x, betas = images(2, side=40), torch.tensor([1e-6, 0.4], dtype=torch.float64)
    changed.base.vae.enable_tiling()
    together = changed(x, beta=betas)
    alone = [changed(x[i : i + 1], beta=float(betas[i])) for i in range(2)]
    changed.base.vae.disable_tiling()
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-9)


def test_slicing_refuses_one_beta_an_example():
    model = multirate(autoencoder())
    model.base.vae.enable_slicing()
    with pytest.raises(
        UsageError, match=r"4 examples became 16: slicing .*vae\.disable_slicing\(\), or pass one number"
    ):
        model.terms(images(), beta=torch.full((4,), 0.1, dtype=torch.float64))


def test_projections_are_fused_after_folding(changed):
    plain, x = kl.fold(changed, 0.2), images()
    before = plain(x).sample
    plain.fuse_qkv_projections()
    torch.testing.assert_close(plain(x).sample, before, rtol=1e-9, atol=1e-9)


def test_latents_may_be_left_ungated():
    model, x = kl.convert(autoencoder(), RANGE, mean=(), log_variance=(), latent_input=(), preserve_at=1e-6), images()
    assert model.plan.latents == 0
    rates = [model.double().terms(x, beta=beta).rate for beta in (1e-7, 1.0)]
    torch.testing.assert_close(*rates)


def _slopes(model, checkpointing):
    model.zero_grad()
    vae, x, beta = model.base.vae.train(), images(), torch.tensor([1e-5, 1e-3, 0.1, 1.0], dtype=torch.float64)
    (vae.enable_gradient_checkpointing if checkpointing else vae.disable_gradient_checkpointing)()
    with seeded(2), model.at(beta):
        model.terms(x).objective(beta).mean().backward()
    vae.disable_gradient_checkpointing()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_gradient_checkpointing_changes_no_gradient_inside_at():
    model = multirate(autoencoder())
    plain, recomputed = _slopes(model, False), _slopes(model, True)
    assert any(float(slope.abs().max()) > 0 for slope in plain.values())
    torch.testing.assert_close(recomputed, plain, rtol=1e-7, atol=1e-9)


def test_gradient_checkpointing_outside_of_at_says_so():
    model = multirate(autoencoder())
    model.base.vae.train().enable_gradient_checkpointing()
    loss = model.terms(images(), beta=0.1).objective(0.1).mean()
    with pytest.raises(BetaError, match="no beta is set"):
        loss.backward()


# Further losses


class Judge(nn.Module):
    """A network of somebody else's."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 1, 3).double()

    def forward(self, x, reconstruction):
        return self.layer(reconstruction - x).square().flatten(1).sum(1)


def test_a_further_loss_is_added_to_the_objective_as_it_is_and_has_a_gradient():
    vae, x, judge = autoencoder(), images(), Judge()
    plain, more = kl.convert(vae.double(), RANGE), kl.convert(vae.double(), RANGE, extra=judge)
    beta = torch.tensor([1e-6, 1e-3, 0.1, 1.0], dtype=torch.float64)
    with seeded(1):
        before = plain.terms(x, beta=beta)
    with seeded(1):
        after = more.terms(x, beta=beta)
    added = judge(x, before.reconstruction.likelihood.mean)
    expected = mr.objectives.beta_vae(before, beta) + added
    torch.testing.assert_close(mr.objectives.beta_vae(after, beta), expected)
    torch.testing.assert_close(after.rate, before.rate)
    torch.testing.assert_close(after.distortion, before.distortion)
    after.extra.sum().backward()
    assert float(more.base.vae.decoder.conv_in.weight.grad.abs().max()) > 0
    assert float(more.response.weight.grad.abs().max()) > 0


def test_a_further_loss_is_shared_and_no_part_of_the_model():
    judge = Judge()
    model = kl.convert(autoencoder(), RANGE, extra=judge)
    assert model.base.extra is judge
    assert kl.convert(autoencoder(), RANGE).base.extra is None
    assert not [name for name in model.state_dict() if "layer" in name and "judge" in name.lower()]
    assert id(judge.layer.weight) not in {id(parameter) for parameter in model.parameters()}
    assert mr.fold(model, 0.1).extra is judge
    model.base.extra = None
    assert model.terms(images(dtype=torch.float32), beta=0.1).extra is None


@pytest.mark.parametrize("wrong", [lambda x, r: (x - r).abs(), lambda x, r: (x - r).mean(), lambda x, r: 1.0])
def test_a_further_loss_of_another_shape_is_refused(wrong):
    with pytest.raises(UsageError, match=r"extra must return one number an example, \[4\]"):
        kl.adapt(autoencoder().double(), extra=wrong).terms(images())


# Scaling factor


def test_the_scaling_factor_makes_the_latents_of_unit_standard_deviation():
    """By the law of total variance, over all values: the mean posterior variance, and the variance of the means."""
    vae, x = autoencoder(), images(200, dtype=torch.float32)
    factor = kl.scaling_factor(vae, x, batch_size=64)
    with torch.no_grad():
        posterior = vae.encode(x).latent_dist
    variance = posterior.var.double().mean() + posterior.mean.double().var(correction=0)
    assert factor == pytest.approx(1 / math.sqrt(variance), rel=0.02)
    assert kl.scaling_factor(vae, x, batch_size=64) == factor
    assert kl.scaling_factor(vae, x, examples=5) == kl.scaling_factor(vae, x[:5])
    assert vae.config.scaling_factor == 0.18215


def test_the_scaling_factor_leaves_modes_and_the_global_generator_alone():
    vae, state = autoencoder().train(), torch.get_rng_state()
    vae.decoder.eval()
    kl.scaling_factor(vae, images(3, dtype=torch.float32))
    assert (vae.encoder.training, vae.decoder.training) == (True, False)
    assert torch.equal(torch.get_rng_state(), state)


def test_latents_that_are_not_finite_have_no_scaling_factor():
    vae = autoencoder()
    with torch.no_grad():
        vae.quant_conv.bias.fill_(float("nan"))
    with pytest.raises(DataError, match="have variance nan; check the images and the model"):
        kl.scaling_factor(vae, images(3, dtype=torch.float32))


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"likelihood": "bernoulli"}, "unknown likelihood 'bernoulli'; choose one of laplace, gaussian"),
        ({"scale": 0.0}, "scale must be positive and finite; got 0"),
        ({"likelihood": "squared_error", "scale": 2.0}, "squared_error has no scale"),
        ({"likelihood": "squared_error", "learn_scale": True}, "squared_error has no scale"),
    ],
)
def test_wrong_options_name_the_remedy(options, message):
    with pytest.raises(UsageError, match=message):
        kl.convert(autoencoder(), RANGE, **options)


def test_other_models_are_refused():
    with pytest.raises(ConversionError, match="Linear is not diffusers' AutoencoderKL"):
        kl.adapt(nn.Linear(2, 2))
    with pytest.raises(ConversionError, match="got a AutoencoderKL"):
        kl.fold(autoencoder(), 0.1)
    other = mr.convert(mr.models.mlp(shape=(1, 4, 4), latents=2, hidden=(8,)), RANGE)
    with pytest.raises(ConversionError, match=r"integrations\.diffusers\.convert made; got a"):
        kl.fold(other, 0.1)


# The example


@pytest.mark.slow
def test_the_example_runs_and_its_files_are_whole(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("diffusers_autoencoder", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    curve = module.main(data="digits", epochs=2, examples=96, sharpening=2, out=str(tmp_path))
    assert mr.Curve.load(tmp_path / "curve.json").points == curve.points
    assert curve.betas[[0, -1]] == pytest.approx([1e-7, 1.0])
    assert "agrees: True" in capsys.readouterr().out
    assert diffusers.AutoencoderKL.from_pretrained(tmp_path / "folded").config.latent_channels == 4
    for name in ("rate_distortion.png", "reconstructions.png", "sharpened.png"):
        assert (tmp_path / name).stat().st_size > 10_000
