"""SCVI models of scvi-tools: converted, trained, folded, and back under scvi's own methods."""

import importlib.util
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cases
import multirate as mr
from multirate.errors import BetaError, ConversionError, DataError, UsageError
from multirate.integrations import scvi as integration
from multirate.integrations.silhouettes import silhouette_batch, silhouette_label
from multirate.recalibrate import recalibrate
from multirate.seeding import seeded

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("scvi", reason="scvi-tools is not installed: pip install 'multirate[scvi]'")
    import anndata
    import scvi
    from scipy.sparse import csr_matrix

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:scvi.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:anndata.*"),
]

RANGE = mr.BetaRange(0.01, 10.0)
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "scvi_pbmc.py"
GENES, CELLS, BATCHES = 15, 40, 3


@dataclass(frozen=True)
class Case:
    """Options of one SCVI model, and of how its AnnData is set up."""

    name: str
    model: dict[str, Any] = field(default_factory=dict)
    setup: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case("one_batch"),
    Case("batches", {}, {"batch_key": "batch", "labels_key": "type"}),
    Case("deep", {"n_layers": 2, "dispersion": "gene-cell", "gene_likelihood": "nb"}, {"batch_key": "batch"}),
    Case("dispersion_by_label", {"dispersion": "gene-label"}, {"labels_key": "type"}),
    Case("library_size_is_latent", {"use_observed_lib_size": False}, {"batch_key": "batch"}),
    Case("logistic_normal", {"latent_distribution": "ln"}, {"batch_key": "batch"}),
    Case("no_batchnorm", {"use_batch_norm": "none", "gene_likelihood": "poisson"}, {"batch_key": "batch"}),
    Case("batch_embedding", {"batch_representation": "embedding"}, {"batch_key": "batch"}),
    Case(
        "covariates",
        {"encode_covariates": True},
        {"batch_key": "batch", "categorical_covariate_keys": ["donor"], "continuous_covariate_keys": ["share"]},
    ),
    Case("size_factors", {}, {"size_factor_key": "size"}),
]
every_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def counts(sparse: bool = False) -> anndata.AnnData:
    rng = np.random.default_rng(0)
    matrix = rng.poisson(rng.gamma(2.0, 2.0, size=(CELLS, GENES))).astype(np.float32)
    adata = anndata.AnnData(csr_matrix(matrix) if sparse else matrix)
    adata.obs["batch"] = [f"batch {i % BATCHES}" for i in range(CELLS)]
    adata.obs["type"] = [f"type {i % 2}" for i in range(CELLS)]
    adata.obs["donor"] = [f"donor {i % 4}" for i in range(CELLS)]
    adata.obs["share"] = rng.random(CELLS)
    adata.obs["size"] = rng.random(CELLS) + 0.5
    return adata


def untrained(case: Case = CASES[1], adata: anndata.AnnData | None = None) -> Any:
    adata = counts() if adata is None else adata
    scvi.model.SCVI.setup_anndata(adata, **case.setup)
    with seeded(0):
        model = scvi.model.SCVI(adata, n_hidden=8, n_latent=4, **case.model)
        for norm in model.module.modules():
            if isinstance(norm, nn.BatchNorm1d):
                nn.init.normal_(norm.weight)
                nn.init.normal_(norm.bias)
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2.0)
    model.module.eval()
    return model


def moved(model: Any) -> mr.MultiRate:
    """Convert a model and move its gates away from where they start."""
    return cases.moved(integration.convert(model, RANGE))


def rows(model: Any) -> Tensor:
    return integration.cells(model).batch(torch.arange(CELLS))


def loaded(model: Any) -> dict[str, Tensor]:
    """Return all cells as scvi's own loader gives them."""
    return next(iter(model._make_data_loader(model.adata, batch_size=CELLS)))


@every_case
def test_unpacked_rows_are_what_the_loader_of_the_library_gives(case: Case) -> None:
    model = untrained(case)
    ours, theirs = integration.adapt(model).unpack(rows(model)), loaded(model)
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key].dtype == value.dtype, key
        torch.testing.assert_close(ours[key], value)


@every_case
def test_terms_are_the_losses_of_the_library_cell_by_cell(case: Case) -> None:
    model = untrained(case)
    cells = loaded(model)
    with torch.no_grad():
        with seeded(3):
            _, _, losses = model.module(cells)
        with seeded(3):
            terms = integration.adapt(model).terms(rows(model))
    torch.testing.assert_close(terms.distortion, losses.reconstruction_loss["reconstruction_loss"])
    torch.testing.assert_close(terms.rate, losses.kl_local["kl_divergence_z"] + losses.kl_local["kl_divergence_l"])
    torch.testing.assert_close(terms.objective(1.0).mean(), losses.loss)
    if terms.latent_rate is not None:
        torch.testing.assert_close(terms.latent_rate.sum(1), terms.rate)


def test_only_one_gaussian_latent_vector_is_given_as_posterior() -> None:
    given = {case.name: integration.adapt(untrained(case)) for case in CASES}
    for name, adapted in given.items():
        terms = adapted.terms(rows(untrained(next(case for case in CASES if case.name == name))))
        none = name in ("logistic_normal", "library_size_is_latent")
        assert (terms.posterior is None) == none, name
        if terms.posterior is not None:
            at_sample = (terms.posterior.sample - terms.posterior.mean) / (0.5 * terms.posterior.log_variance).exp()
            assert at_sample.abs().max() < 6  # a sample of that Gaussian


def test_beta_is_the_weight_that_the_library_gives_the_divergence() -> None:
    model, beta = untrained(), torch.linspace(0.1, 2, CELLS)
    cells = loaded(model)
    with torch.no_grad():
        with seeded(3):
            losses = model.module(cells, loss_kwargs={"kl_weight": beta})[2]
        with seeded(3):
            terms = integration.adapt(model).terms(rows(model))
    torch.testing.assert_close(terms.objective(beta).mean(), losses.loss)


def test_the_divergence_of_a_latent_library_size_is_in_the_rate() -> None:
    case = next(case for case in CASES if case.name == "library_size_is_latent")
    model = untrained(case)
    with torch.no_grad(), seeded(3):
        inferred, generated, losses = integration.adapt(model)(rows(model))
        posterior, prior = inferred["ql"], generated["pl"]
    s, p = posterior.scale.double(), prior.scale.double()
    by_hand = (p / s).log() + (s**2 + (posterior.loc.double() - prior.loc.double()) ** 2) / (2 * p**2) - 0.5
    torch.testing.assert_close(losses.kl_local["kl_divergence_l"].double(), by_hand.sum(1), rtol=1e-4, atol=1e-5)
    assert integration.adapt(model).terms(rows(model)).latent_rate is None


@every_case
def test_a_folded_model_answers_the_methods_of_the_library_as_the_multi_rate_one_does(case: Case) -> None:
    model = untrained(case)
    converted, x, beta = moved(model), rows(model), 0.5
    folded = integration.fold(converted, beta, model)
    assert type(folded) is scvi.model.SCVI
    assert folded.module.state_dict().keys() == model.module.state_dict().keys()
    with torch.no_grad(), seeded(4):
        loaded(model)  # the library's loaders draw from the generator too
        terms = converted.terms(x, beta=beta)
    with seeded(4):
        error = folded.get_reconstruction_error(batch_size=CELLS, return_mean=False)["reconstruction_loss"]
    with seeded(4):
        elbo = folded.get_elbo(batch_size=CELLS, return_mean=False)
    torch.testing.assert_close(error, terms.distortion, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(elbo, terms.elbo, rtol=1e-4, atol=1e-4)
    with torch.no_grad(), converted.at(beta), seeded(5):
        loaded(model)
        expected = converted.base(x)[1]["px"].scale
    with seeded(5):
        expression = folded.get_normalized_expression(batch_size=CELLS, return_numpy=True)
    np.testing.assert_allclose(expression, expected.numpy(), rtol=1e-3, atol=1e-6)
    mean, variance = folded.get_latent_representation(return_dist=True)
    with torch.no_grad(), converted.at(beta):
        posterior = converted.base.encode(x)
    np.testing.assert_allclose(mean, posterior.mean.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(variance, posterior.variance.numpy(), rtol=1e-4, atol=1e-5)
    other = integration.fold(converted, 5.0, model).get_latent_representation(return_dist=True)[0]
    assert not np.allclose(mean, other, atol=1e-3)


def test_a_folded_model_is_loaded_by_the_library_again(tmp_path: Path) -> None:
    model = untrained()
    folded = integration.fold(moved(model), 0.5, model)
    folded.save(str(tmp_path / "model"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = scvi.model.SCVI.load(str(tmp_path / "model"), adata=model.adata)
    np.testing.assert_array_equal(again.get_latent_representation(), folded.get_latent_representation())
    assert again.is_trained_


def test_folding_leaves_both_models_as_they_were() -> None:
    model = untrained()
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    converted, x = moved(model), rows(model)
    with torch.no_grad(), seeded(6):
        first = converted.terms(x, beta=2.0)
    folded = integration.fold(converted, 2.0, model)
    with torch.no_grad(), seeded(6):
        second = converted.terms(x, beta=2.0)
    torch.testing.assert_close(first.distortion, second.distortion, rtol=0, atol=0)
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())
    assert not model.is_trained_
    assert folded.is_trained_
    assert folded.adata is model.adata
    assert folded.module is not model.module


def test_statistics_of_batchnorm_can_be_those_of_the_folded_beta() -> None:
    model = untrained()
    converted, data = moved(model), integration.cells(model)
    plain, own = (integration.fold(converted, 0.5, model, recalibrate=cells) for cells in (None, data))
    expected = recalibrate(integration.adapt(plain), data)
    norm = "module.decoder.px_decoder.fc_layers.Layer 0.1"
    theirs = integration.adapt(own).get_submodule(norm)
    torch.testing.assert_close(theirs.running_mean, expected.get_submodule(norm).running_mean)
    assert not torch.allclose(theirs.running_mean, converted.base.get_submodule(norm).running_mean)


def test_the_plan_gates_hidden_layers_and_latents() -> None:
    plan = integration.convert(untrained(), RANGE).plan
    assert [(layer.side, layer.name) for layer in plan.gated] == [
        ("encoder", "module.z_encoder.encoder.fc_layers.Layer 0.0"),
        ("decoder", "module.decoder.px_decoder.fc_layers.Layer 0.0"),
        ("latent", "module.z_encoder.mean_encoder"),
        ("latent", "module.z_encoder.var_encoder"),
        ("latent", "latent_scale"),
    ]
    assert not plan.missing


def test_an_encoder_of_the_library_size_is_gated_where_it_is_used() -> None:
    case = next(case for case in CASES if case.name == "library_size_is_latent")
    names = [layer.name for layer in integration.convert(untrained(case), RANGE).plan.gated]
    assert "module.l_encoder.encoder.fc_layers.Layer 0.0" in names


def test_a_variance_that_is_no_exponential_is_not_gated() -> None:
    model = untrained(Case("softplus", {"var_activation": nn.functional.softplus}))
    plan = integration.convert(model, RANGE).plan
    assert "module.z_encoder.var_encoder" not in [layer.name for layer in plan.gated]
    assert "module.z_encoder.mean_encoder" in [layer.name for layer in plan.gated]


def test_a_response_without_gates_of_latents_is_taken() -> None:
    plan = integration.convert(untrained(), RANGE, response="paper").plan
    assert {layer.side for layer in plan.gated} == {"encoder", "decoder"}


def test_a_trained_model_is_preserved_at_one_beta() -> None:
    model = untrained()
    converted, x = integration.convert(model, RANGE, preserve_at=1.0), rows(model)
    with torch.no_grad():
        with seeded(7):
            ours = converted.terms(x, beta=1.0)
        with seeded(7):
            theirs = integration.adapt(model).terms(x)
    torch.testing.assert_close(ours.distortion, theirs.distortion, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(ours.rate, theirs.rate, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["batches", "library_size_is_latent"])
def test_importance_weights_are_those_of_the_marginal_likelihood_of_the_library(name: str) -> None:
    model = untrained(next(case for case in CASES if case.name == name))
    cells = loaded(model)
    with seeded(8):
        theirs = model.module.marginal_ll(cells, n_mc_samples=1)
    with torch.no_grad(), seeded(8):
        ours = integration.adapt(model).log_weight(rows(model))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_logistic_normal_latents_have_no_importance_weights() -> None:
    model = untrained(next(case for case in CASES if case.name == "logistic_normal"))
    with pytest.raises(UsageError, match="'ln' gives no importance weights"):
        integration.adapt(model).log_weight(rows(model))


@pytest.mark.parametrize("sparse", [False, True])
def test_cells_are_chosen_by_index_or_mask_in_the_order_asked_for(sparse: bool) -> None:
    model = untrained(adata=counts(sparse))
    everything, chosen = rows(model), [7, 3, 30, 9]
    some = integration.cells(model, chosen, name="some", split="test")
    assert (len(some), some.name, some.split, some.shape) == (4, "some", "test", (GENES + 2,))
    torch.testing.assert_close(some.batch(torch.tensor([2, 0, 0])), everything[[30, 7, 7]])
    mask = np.isin(np.arange(CELLS), chosen)
    torch.testing.assert_close(integration.cells(model, mask).batch(torch.arange(4)), everything[[3, 7, 9, 30]])


def test_cells_are_read_from_a_file_on_disk(tmp_path: Path) -> None:
    with anndata.settings.override(allow_write_nullable_strings=True):
        counts().write_h5ad(tmp_path / "cells.h5ad")
    adata = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    model = untrained(adata=adata)
    x = integration.cells(model, [9, 3, 30]).batch(torch.tensor([0, 1, 2]))
    torch.testing.assert_close(x, rows(untrained())[[9, 3, 30]])


@pytest.mark.parametrize("indices", [[40], [-1], [0.5], [], [[0, 1]], [True, False]])
def test_indices_that_are_no_cells_are_refused(indices: list[Any]) -> None:
    with pytest.raises(UsageError, match="indices must be whole numbers from 0 to 39, or a mask of 40"):
        integration.cells(untrained(), indices)


def test_latents_of_another_model_are_refused() -> None:
    with pytest.raises(ConversionError, match="latents are of what convert or adapt made; got a Linear"):
        integration.latents(nn.Linear(2, 2), integration.cells(untrained()))


def test_a_cell_without_counts_is_named() -> None:
    adata = counts()
    adata.X[11] = 0
    model = untrained(adata=adata)
    with pytest.raises(DataError, match="cell 11 has no counts; drop such cells"):
        mr.evaluate(integration.adapt(model), integration.cells(model), beta=1.0)


@pytest.mark.parametrize("weighs", ["rate", "distortion"])
def test_silhouettes_of_a_curve_are_those_of_the_latents_of_folded_models(weighs: Any) -> None:
    model = untrained()
    converted, data = (
        cases.moved(integration.convert(model, mr.BetaRange(0.05, 10.0, weighs=weighs))),
        integration.cells(model),
    )
    obs = model.adata.obs
    curve = mr.evaluate(converted, data, betas=[0.1, 2.0])
    served = converted.beta_range
    added = integration.with_silhouettes(curve, converted, data, obs["type"], obs["batch"])
    for before, point in zip(curve.points, added.points, strict=True):
        z = integration.fold(converted, served.weight_of(point["beta"]), model).get_latent_representation()
        assert point["silhouette_label"] == pytest.approx(silhouette_label(z, obs["type"]), abs=1e-5)
        assert point["silhouette_batch"] == pytest.approx(silhouette_batch(z, obs["type"], obs["batch"]), abs=1e-5)
        assert {name: point[name] for name in before} == before
    assert added.details["silhouette_cells"] == CELLS
    alone = mr.evaluate(integration.adapt(model), data, beta=1.0)
    labels_only = integration.with_silhouettes(alone, integration.adapt(model), data, obs["type"])
    assert labels_only.points[0]["silhouette_label"] == pytest.approx(
        silhouette_label(integration.latents(integration.adapt(model), data), obs["type"])
    )
    assert "silhouette_batch" not in labels_only.measures


def test_a_saved_multi_rate_model_is_read_with_an_instance_of_its_base(tmp_path: Path) -> None:
    model = untrained()
    converted, x = moved(model), rows(model)
    converted.save(tmp_path)
    again = mr.load(tmp_path, base=integration.adapt(untrained()))
    with torch.no_grad():
        with seeded(9):
            expected = converted.terms(x, beta=0.3)
        with seeded(9):
            torch.testing.assert_close(again.terms(x, beta=0.3).distortion, expected.distortion)


@pytest.mark.slow
def test_one_training_gives_a_curve() -> None:
    model = untrained()
    converted, data = integration.convert(model, RANGE), integration.cells(model)
    mr.fit(converted, data, epochs=200, batch_size=20, seed=0, progress=False)
    curve = mr.evaluate(converted, data, betas=4, samples=10)
    assert (curve.rates[:-1] > curve.rates[1:]).all()
    assert (curve.distortions[:-1] < curve.distortions[1:]).all()
    assert torch.equal(converted.base.latent_scale.weight, torch.eye(4))
    assert all(
        torch.equal(a, b) for a, b in zip(model.module.parameters(), untrained().module.parameters(), strict=True)
    )


@pytest.fixture(scope="module")
def example() -> Any:
    """The example of the page."""
    spec = importlib.util.spec_from_file_location("scvi_pbmc", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    return module


def test_counts_come_back_from_rounded_logarithms(example: Any) -> None:
    rng = np.random.default_rng(0)
    whole, totals = rng.poisson(3.0, size=(20, 50)).astype(np.float32), rng.integers(1500, 9000, size=20)
    stored = np.round(np.log1p(whole * 10_000 / totals[:, None]), 3)
    np.testing.assert_array_equal(example.counts_of(stored, totals), whole)
    with pytest.raises(DataError, match="are not those of the logarithms"):
        example.counts_of(stored, totals * 1.3)


def test_counts_of_the_blood_cells_are_whole_numbers_that_scanpy_normalizes_to_what_it_stores(example: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cells, stored = example.blood_cells(), example.scanpy.datasets.pbmc68k_reduced()
    whole = cells.X.toarray()
    assert whole.shape == (700, 765)
    assert (whole == np.round(whole)).all()
    units = np.expm1(stored.raw.X.toarray()).astype(np.float64)
    smallest = np.where(units > 0, units, np.inf).min(1, keepdims=True)  # what one count became
    assert np.abs(units / smallest - whole).max() < 0.15
    assert whole.sum(1).min() > 300


@pytest.mark.slow
def test_the_example_makes_the_figures_of_the_page(example: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        curve = example.main(epochs=2, betas=3, dedicated=[1.0], out=str(tmp_path))
    assert {"silhouette_label", "silhouette_batch", "silhouette"} <= set(curve.measures)
    assert mr.Curve.load(tmp_path / "curve.json").points == curve.points
    made = {path.name for path in tmp_path.iterdir()}
    assert made >= {"rate_distortion.png", "silhouettes.png", "latents.png", "dedicated-scvi.json", "scvi-model"}


def test_other_models_are_refused() -> None:
    adata = counts()
    scvi.model.LinearSCVI.setup_anndata(adata)
    for model in (scvi.model.LinearSCVI(adata), nn.Linear(2, 2)):
        with pytest.raises(ConversionError, match=f"{type(model).__name__} is not an scvi.model.SCVI"):
            integration.convert(model)


def test_a_model_without_its_data_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = scvi.model.SCVI()
    with pytest.raises(ConversionError, match="has no module yet; make it with an AnnData"):
        integration.convert(model)


def test_fold_refuses_what_convert_did_not_make_of_the_model() -> None:
    model = untrained()
    deeper = untrained(CASES[2])
    for wrong in (model, integration.adapt(model), integration.convert(deeper, RANGE)):
        with pytest.raises(ConversionError, match=r"fold takes what .* made of this scvi_model"):
            integration.fold(wrong, 1.0, model)
    for cells in (None, integration.cells(model)):
        with pytest.raises(BetaError, match="outside the range"):
            integration.fold(moved(model), 100.0, model, recalibrate=cells)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(UsageError, match=r"needs scvi, .* pip install 'multirate\[scvi\]'"):
        integration.adapt(nn.Linear(2, 2))
