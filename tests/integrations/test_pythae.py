"""pythae models with a user's own encoder and decoder: converted, trained, folded, and back in pythae."""

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cases
import multirate as mr
from multirate.errors import BetaError, ConversionError, UsageError
from multirate.integrations import pythae as integration
from multirate.metrics.options import MeasureOptions
from multirate.seeding import seeded
from multirate.terms import gaussian

pytest.importorskip("pythae", reason="pythae is not installed: pip install 'multirate[pythae]'")

from pythae.data.datasets import DatasetOutput
from pythae.models import IWAE, VAE, AutoModel, BetaVAE, BetaVAEConfig, IWAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.samplers import GaussianMixtureSampler, GaussianMixtureSamplerConfig, NormalSampler

RANGE = mr.BetaRange(0.01, 10.0)
SHAPE = (1, 4, 5)
LATENTS = 3
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "pythae_digits.py"
# The log density that each of pythae's losses stands for, but for a constant: of x given the decoder's output.
LOSSES = ("bce", "mse")


class Encoder(BaseEncoder):
    """A user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(20, 16), nn.ReLU())
        self.fc_mu = nn.Linear(16, LATENTS)
        self.fc_var = nn.Linear(16, LATENTS)

    def forward(self, x: Tensor) -> ModelOutput:
        hidden = self.hidden(x)
        return ModelOutput(embedding=self.fc_mu(hidden), log_covariance=self.fc_var(hidden))


class Decoder(BaseDecoder):
    """A user's own; flat output, which pythae allows, if asked for."""

    def __init__(self, flat: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(LATENTS, 16), nn.ReLU(), nn.Linear(16, 20), nn.Sigmoid())
        self.flat = flat

    def forward(self, z: Tensor) -> ModelOutput:
        out = self.layers(z)
        return ModelOutput(reconstruction=out if self.flat else out.reshape(-1, *SHAPE))


def own(
    loss: str = "bce", kind: type[VAE] = VAE, config: type[VAEConfig] = VAEConfig, flat: bool = False, **options: Any
) -> VAE:
    torch.manual_seed(0)
    return kind(
        config(input_dim=None if flat else SHAPE, latent_dim=LATENTS, reconstruction_loss=loss, **options),
        encoder=Encoder(),
        decoder=Decoder(flat),
    )


def test_a_beta_vae_folded_out_of_a_range_of_lambda_weighs_by_beta() -> None:
    vae = own(kind=BetaVAE, config=BetaVAEConfig, beta=4.0)
    model = integration.convert(vae, mr.BetaRange(0.1, 10.0, weighs="distortion"))
    folded = integration.fold(model, 5.0)
    assert folded.beta == folded.model_config.beta == pytest.approx(0.2)


def images(count: int = 6) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1)).round()


def moved(vae: VAE) -> mr.MultiRate:
    """Convert a model and move its gates away from where they start."""
    return cases.moved(integration.convert(vae, RANGE))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("flat", [False, True])
def test_means_of_the_terms_are_the_losses_of_pythae(loss: str, flat: bool) -> None:
    vae, x = own(loss, flat=flat), images()
    with seeded(3):
        output = vae(DatasetOutput(data=x))
    with seeded(3):
        terms = integration.adapt(vae).terms(x)
    torch.testing.assert_close(terms.rate.mean(), output.reg_loss)
    torch.testing.assert_close(terms.distortion.mean(), output.recon_loss)
    torch.testing.assert_close(terms.objective(1.0).mean(), output.loss)
    assert terms.latent_rate is not None
    torch.testing.assert_close(terms.latent_rate.sum(1), terms.rate)
    assert terms.posterior is not None
    torch.testing.assert_close(terms.posterior.sample, output.z)


def test_each_example_has_its_own_terms() -> None:
    vae, x = integration.adapt(own()), images()
    with seeded(3):
        together = vae.terms(x)
    assert together.posterior is not None
    for index, z in enumerate(together.posterior.sample):
        alone = vae.decode(z[None]).log_prob(x[index : index + 1])
        torch.testing.assert_close(-alone[0], together.distortion[index])


def test_a_flat_reconstruction_takes_the_shape_that_the_configuration_says() -> None:
    vae = VAE(VAEConfig(input_dim=SHAPE, latent_dim=LATENTS), encoder=Encoder(), decoder=Decoder(flat=True))
    assert integration.adapt(vae).decode(torch.zeros(2, LATENTS)).event_shape == SHAPE


def test_squared_error_lacks_only_the_constant_of_a_gaussian_of_variance_1() -> None:
    vae, z, x = integration.adapt(own("mse")), torch.randn(6, LATENTS), images()
    likelihood = vae.decode(z)
    constant = 0.5 * x[0].numel() * math.log(2 * math.pi)
    torch.testing.assert_close(likelihood.log_prob(x) - constant, gaussian(likelihood.mean).log_prob(x))


def test_cross_entropy_of_certain_pixels_is_clamped_as_torch_clamps_it() -> None:
    vae = own()
    with torch.no_grad():
        vae.decoder.layers[2].bias.fill_(1000.0)  # every pixel is 1 for certain
    distortion = -integration.adapt(vae).decode(torch.zeros(1, LATENTS)).log_prob(torch.zeros(1, *SHAPE))
    assert distortion.item() == pytest.approx(20 * 100.0)


@pytest.mark.slow
def test_importance_weighted_likelihood_agrees_with_that_of_pythae() -> None:
    vae, x = own(), images(8)
    with torch.no_grad(), seeded(4):
        theirs = float(vae.get_nll(x, n_samples=2000, batch_size=2000))
    curve = mr.evaluate(
        integration.adapt(vae),
        x,
        beta=1.0,
        measures=["log_likelihood"],
        measure_options=MeasureOptions(importance_samples=2000),
    )
    assert curve.points[0]["log_likelihood"] == pytest.approx(theirs, abs=0.02)


def test_the_plan_gates_the_users_layers_and_the_latents() -> None:
    plan = integration.convert(own(), RANGE).plan
    assert {layer.name for layer in plan.gated if layer.side == "encoder"} == {"vae.encoder.hidden.1"}
    assert {layer.gate for layer in plan.gated if layer.side == "latent"} == {
        "latent mean",
        "latent log-variance",
        "latent input",
    }
    assert plan.latents == LATENTS
    assert not plan.missing


def test_conversion_leaves_the_model_as_it_was() -> None:
    vae, x = own(), images()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    model = integration.convert(vae, RANGE)
    mr.fit(model, x, epochs=1, batch_size=3, progress=False)
    assert vae.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    with torch.no_grad():
        vae.predict(x)  # no gate asks for a beta


@pytest.mark.parametrize("beta", [0.01, 0.5, 10.0])
def test_a_folded_model_computes_what_the_multi_rate_model_computes(beta: float) -> None:
    model, x = moved(own()), images()
    folded = integration.fold(model, beta)
    assert type(folded) is VAE
    assert folded.state_dict().keys() == own().state_dict().keys()
    with torch.no_grad():
        theirs = folded.predict(x)
        with model.at(beta):
            ours = model.base.vae.predict(x)
        other = integration.fold(model, 1.0).predict(x)
    torch.testing.assert_close(theirs.recon_x, ours.recon_x)
    torch.testing.assert_close(theirs.embedding, ours.embedding)
    torch.testing.assert_close(model(x, beta=beta), ours.recon_x)
    assert not torch.allclose(theirs.embedding, other.embedding, atol=1e-3)


def test_pythaes_methods_work_inside_at() -> None:
    model, x = moved(own()), images()
    with torch.no_grad(), model.at(0.5), seeded(5):
        inside = model.base.vae.reconstruct(x)
    with torch.no_grad(), seeded(5):
        outside = integration.fold(model, 0.5).reconstruct(x)
    torch.testing.assert_close(inside, outside)
    with pytest.raises(BetaError, match="no beta is set"):
        model.base.vae.predict(x)


def test_a_folded_beta_vae_carries_its_beta() -> None:
    vae = own(kind=BetaVAE, config=BetaVAEConfig, beta=4.0)
    folded = integration.fold(moved(vae), 0.5)
    assert (folded.beta, folded.model_config.beta) == (0.5, 0.5)
    assert (vae.beta, vae.model_config.beta) == (4.0, 4.0)
    with torch.no_grad():
        output = folded(DatasetOutput(data=images()))
    torch.testing.assert_close(output.loss, output.recon_loss + 0.5 * output.reg_loss)


@pytest.mark.parametrize("custom", [True, False])
def test_folded_model_is_loaded_by_the_library_again(custom: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = own(kind=BetaVAE, config=BetaVAEConfig) if custom else BetaVAE(BetaVAEConfig(SHAPE, LATENTS))
    folded, x = integration.fold(moved(base), 0.7), images()
    folded.save(str(tmp_path))
    assert (tmp_path / "encoder.pkl").exists() == custom
    again = AutoModel.load_from_folder(str(tmp_path))
    assert type(again) is BetaVAE
    assert again.model_config.beta == 0.7
    with torch.no_grad():
        torch.testing.assert_close(again.predict(x).recon_x, folded.predict(x).recon_x)
        for model in (again, folded):
            with seeded(6):
                assert model.embed(x).shape == (6, LATENTS)
                assert model.interpolate(x[:2], x[2:4], granularity=5).shape == (2, 5, *SHAPE)
    with torch.no_grad(), seeded(6):
        first = again.reconstruct(x)
    with torch.no_grad(), seeded(6):
        torch.testing.assert_close(first, folded.reconstruct(x))


def test_samplers_of_the_library_take_a_folded_model() -> None:
    folded = integration.fold(moved(own()), 0.7)
    with seeded(7):
        drawn = NormalSampler(model=folded).sample(num_samples=5, batch_size=5)
        mixture = GaussianMixtureSampler(model=folded, sampler_config=GaussianMixtureSamplerConfig(n_components=2))
        mixture.fit(train_data=images(40))
        mixed = mixture.sample(num_samples=4, batch_size=4)
    assert drawn.shape == (5, *SHAPE)
    assert mixed.shape == (4, *SHAPE)
    assert bool(((drawn >= 0) & (drawn <= 1)).all())


def test_a_saved_multi_rate_model_is_read_with_an_instance_of_its_base(tmp_path: Path) -> None:
    model, x = moved(own()), images()
    model.save(tmp_path)
    again = mr.load(tmp_path, base=integration.adapt(own()))
    torch.testing.assert_close(again(x, beta=0.3), model(x, beta=0.3))


@pytest.mark.slow
def test_one_training_gives_a_curve() -> None:
    source = mr.data.load("digits", "train")
    torch.manual_seed(0)
    vae = BetaVAE(BetaVAEConfig(input_dim=(1, 8, 8), latent_dim=8, reconstruction_loss="bce"))
    model = integration.convert(vae, RANGE)
    mr.fit(model, source, epochs=15, seed=0, progress=False)
    curve = mr.evaluate(model, mr.data.load("digits", "test"), betas=5)
    assert curve.model == "BetaVAE"
    assert (curve.rates[:-1] > curve.rates[1:]).all()
    assert (curve.distortions[:-1] < curve.distortions[1:]).all()
    folded = integration.adapt(integration.fold(model, float(curve.betas[2])))
    alone = mr.evaluate(folded, mr.data.load("digits", "test"), beta=float(curve.betas[2]))
    assert alone.points[0]["objective"] == pytest.approx(curve.points[2]["objective"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["pythae", "multirate"])
def test_the_example_makes_the_figures_of_the_page(
    trainer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("pythae_digits", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where pythae looks for the code of encoder and decoder
    try:
        spec.loader.exec_module(module)
        curve = module.main(epochs=5, betas=4, dedicated=[1.0], trainer=trainer, latents=8, out=str(tmp_path))
    finally:
        del sys.modules[spec.name]
    assert mr.Curve.load(tmp_path / "curve.json").points == curve.points
    assert mr.Curve.load(tmp_path / f"dedicated-{trainer}.json").betas.tolist() == [1.0]
    assert (tmp_path / "rate_distortion.png").exists()
    assert "reloaded BetaVAE agrees: True" in capsys.readouterr().out


def test_a_model_with_a_loss_of_its_own_is_refused() -> None:
    class Scaled(VAE):
        def loss_function(self, *args: Any) -> Any:
            return tuple(2 * part for part in super().loss_function(*args))

    torch.manual_seed(0)
    iwae = IWAE(IWAEConfig(input_dim=SHAPE, latent_dim=LATENTS, number_samples=3))
    for model in (iwae, own(kind=Scaled), nn.Linear(2, 2)):
        with pytest.raises(ConversionError, match=f"{type(model).__name__} is not a pythae VAE or BetaVAE"):
            integration.convert(model)


def test_a_subclass_that_keeps_forward_and_loss_is_taken() -> None:
    class Named(BetaVAE):
        pass

    vae = own(kind=Named, config=BetaVAEConfig)
    assert type(integration.fold(integration.convert(vae), 1.0)) is Named


def test_fold_refuses_what_convert_did_not_make() -> None:
    for model in (own(), mr.convert(nn.ModuleDict({"encoder": nn.Linear(2, 2), "decoder": nn.Linear(2, 2)}))):
        with pytest.raises(ConversionError, match=r"integrations\.pythae\.convert made; got a"):
            integration.fold(model, 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("beta", [100.0, -1.0, math.nan])
def test_fold_refuses_a_beta_outside_the_range(beta: float) -> None:
    with pytest.raises(BetaError):
        integration.fold(integration.convert(own(), RANGE), beta)
    with pytest.raises(BetaError, match="one number"):
        integration.fold(integration.convert(own(), RANGE), torch.ones(2))  # type: ignore[arg-type]


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(UsageError, match=r"needs pythae, .* pip install 'multirate\[pythae\]'"):
        integration.adapt(nn.Linear(2, 2))
