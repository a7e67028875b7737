"""One SCVI model of real blood cells at every KL weight of a range, and the weight chosen by the latent space.

Run it: python examples/scvi_pbmc.py --out runs/scvi (700 cells that come with scanpy, four minutes of one core).
In half a minute: python examples/scvi_pbmc.py --epochs 5 --betas 4 --dedicated 1.0
"""

# %% [markdown]
# # Which KL weight for these cells?
#
# SCVI is trained once for every `kl_weight` from 0.1 to 30. The curve says what a latent space costs in nats and how
# well it describes unseen cells; silhouettes say how it separates types of cells and mixes the phases of their cycle.

# %%
import argparse
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import scanpy
import scvi
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

import multirate as mr
from multirate.errors import DataError
from multirate.integrations import scvi as integration
from multirate.merging import merge
from multirate.report.figures import rate_distortion
from multirate.report.style import BASELINE_COLORS, MULTI_RATE_COLORS, log_beta_axis, new_figure, save, style
from multirate.seeding import seeded

BETA_RANGE = mr.BetaRange(0.1, 30.0)
TOTAL = 10_000  # counts of each cell after scanpy's normalization
HELD_OUT = 140
BATCH_SIZE = 128


# %% [markdown]
# ## The cells
# `pbmc68k_reduced` holds 700 cells and 765 genes as log(1 + normalized counts), to three decimals. The total of each
# cell is known, so the counts come back, and it is checked that they give the stored numbers again.
#
# The cells are of one donor and one run. Where a batch is asked for, the phase of the cell cycle stands in: it is a
# nuisance that one may want out of the latents, and it is no technical batch.


# %%
def counts_of(logarithms: NDArray[Any], totals: NDArray[Any]) -> NDArray[np.float32]:
    """Undo scanpy's ``normalize_total`` and ``log1p``.

    Args:
        logarithms: to three decimals, ``[cells, genes]``.
        totals: counts of each cell over all genes, ``[cells]``.

    Returns:
        Whole numbers, ``[cells, genes]``.

    Raises:
        DataError: if they do not give these logarithms again.
    """
    one = TOTAL / np.asarray(totals, dtype=np.float64)[:, None]
    raw = np.expm1(np.asarray(logarithms, dtype=np.float64)) / one
    counts = np.round(raw)
    off = float(np.abs(np.log1p(counts * one) - logarithms).max())
    if off > 0.0006 or float(np.abs(raw - counts).max()) > 0.4:
        raise DataError(f"the counts are not those of the logarithms: off by {off:.2g}; use the file of raw counts")
    return counts.astype(np.float32)


def blood_cells() -> anndata.AnnData:
    """Return scanpy's peripheral blood cells with their counts, types and phases of the cycle."""
    stored = scanpy.datasets.pbmc68k_reduced()
    counts = counts_of(stored.raw.X.toarray(), stored.obs["n_counts"].to_numpy())
    obs = stored.obs[["bulk_labels", "phase"]].copy()
    return anndata.AnnData(csr_matrix(counts), obs=obs, var=stored.var[[]].copy())


def new_model(adata: anndata.AnnData, dispersion: str, batch_norm: str) -> scvi.model.SCVI:
    """Return an untrained SCVI model, always the same one."""
    scvi.model.SCVI.setup_anndata(adata, batch_key="phase", labels_key="bulk_labels")
    with seeded(0, "weights"):
        return scvi.model.SCVI(adata, dispersion=dispersion, use_batch_norm=batch_norm)


def split(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return indices of the cells to train on, and of those held out."""
    order = np.random.default_rng(0).permutation(count)
    return np.sort(order[HELD_OUT:]), np.sort(order[:HELD_OUT])


# %% [markdown]
# ## Models of one KL weight, to compare with
# Each is trained for as many epochs: by scvi's own trainer, with its defaults but for the weight, reached at once; and
# by `mr.fit`, whose optimizer is that of the multi-rate model.


# %%
def by_scvi(model: scvi.model.SCVI, train: NDArray[np.int64], beta: float, epochs: int) -> None:
    """Train a model as scvi-tools does."""
    rest = np.setdiff1d(np.arange(model.adata.n_obs), train)  # not trained on: scvi wants each cell named
    with warnings.catch_warnings(), seeded(0, "scvi"):
        warnings.simplefilter("ignore")
        model.train(
            max_epochs=epochs,
            accelerator="cpu",
            batch_size=BATCH_SIZE,
            datasplitter_kwargs={"external_indexing": [train, rest, rest[:0]]},
            plan_kwargs={"max_kl_weight": beta, "min_kl_weight": 0.0, "n_epochs_kl_warmup": None},
            enable_progress_bar=False,
            logger=False,
            enable_checkpointing=False,
        )
    model.module.eval()


def by_multirate(model: scvi.model.SCVI, train: NDArray[np.int64], beta: float, epochs: int) -> None:
    """Train a model at one weight by multirate's loop."""
    data = integration.cells(model, train)
    mr.fit(integration.adapt(model), data, beta=beta, epochs=epochs, batch_size=BATCH_SIZE, seed=0, progress=False)


Trainer = Callable[[scvi.model.SCVI, NDArray[np.int64], float, int], None]
TRAINERS: dict[str, Trainer] = {"dedicated, scvi's trainer": by_scvi, "dedicated, the same trainer": by_multirate}


# %% [markdown]
# ## Choosing the weight
# scIB weighs the biology with 0.6 and the mixing of batches with 0.4.


# %%
def with_choice(curve: mr.Curve) -> mr.Curve:
    """Add ``silhouette``, the weighted mean of those of labels and batches."""
    both = [0.6 * point["silhouette_label"] + 0.4 * point["silhouette_batch"] for point in curve.points]
    points = (point | {"silhouette": value} for point, value in zip(curve.points, both, strict=True))
    return replace(curve, points=tuple(points))


# %% [markdown]
# ## Figures


# %%
def draw_silhouettes(curve: mr.Curve, baselines: Sequence[mr.Curve], out: Path) -> None:
    """Draw both silhouettes against beta."""
    with style():
        figure = new_figure(8.4, 3.4)
        titles = {"silhouette_label": "types of cells apart", "silhouette_batch": "phases of the cycle mixed"}
        for axes, (name, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
            axes.plot(curve.betas, curve.values(name), "o-", color=MULTI_RATE_COLORS[0], ms=4, label=curve.label)
            for baseline, color, marker in zip(baselines, BASELINE_COLORS, "Ds", strict=False):
                axes.plot(baseline.betas, baseline.values(name), marker, color=color, label=baseline.label)
            axes.axvline(curve.best("silhouette"), color="#9aa5b1", lw=1, ls=":")
            log_beta_axis(axes)
            axes.set_title(f"{title} ({name})")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    save(figure, out)


def draw_latents(latents: dict[float, NDArray[np.float64]], types: NDArray[Any], title: str, out: Path) -> None:
    """Draw the first two principal components of the latents at some betas, coloured by type."""
    from sklearn.decomposition import PCA

    with style():
        figure = new_figure(10.2, 4.2)
        for axes, (beta, z) in zip(figure.subplots(1, len(latents), squeeze=False)[0], latents.items(), strict=True):
            plane = PCA(2, random_state=0).fit_transform(z)
            for index, name in enumerate(np.unique(types)):
                here = plane[types == name]
                color, marker = f"C{index}", "os^"[index % 3]
                axes.scatter(*here.T, s=9, color=color, marker=marker, alpha=0.75, linewidths=0, label=name)
            axes.set_title(f"β = {beta:.2g}")
            axes.set_xticks([])
            axes.set_yticks([])
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5, markerscale=1.8)
        figure.suptitle(title, fontweight="bold", fontsize=10.5, x=0.01, ha="left")
    save(figure, out)


# %% [markdown]
# ## All of it


# %%
def main(
    epochs: int = 100,
    betas: int = 15,
    dedicated: Sequence[float] = (0.1, 1.0, 3.0, 10.0),
    out: str | None = None,
    dispersion: str = "gene-cell",
    batch_norm: str = "none",
) -> mr.Curve:
    """Train, measure, compare, choose a KL weight by the latents, and use the folded model in scvi."""
    scvi.settings.verbosity = 30
    adata = blood_cells()
    types, phases = (adata.obs[name].to_numpy() for name in ("bulk_labels", "phase"))
    train, test = split(adata.n_obs)
    model = new_model(adata, dispersion, batch_norm)
    unseen, everything = integration.cells(model, test, name="pbmc68k_reduced", split="test"), integration.cells(model)

    multi = integration.convert(model, BETA_RANGE)
    data = integration.cells(model, train)
    mr.fit(multi, data, epochs=epochs, batch_size=BATCH_SIZE, seed=0, progress=False)
    curve = mr.evaluate(multi, unseen, betas=betas, samples=20, progress=False)
    curve = with_choice(integration.with_silhouettes(curve, multi, everything, types, phases))
    print(curve)

    families = []
    for label, trainer in TRAINERS.items():
        single = []
        for beta in dedicated:
            plain = new_model(adata, dispersion, batch_norm)
            trainer(plain, train, beta, epochs)
            adapted = integration.adapt(plain)
            alone = mr.evaluate(adapted, unseen, beta=beta, samples=20, label=label, progress=False)
            single.append(with_choice(integration.with_silhouettes(alone, adapted, everything, types, phases)))
        families.append(merge(single))
        print(families[-1], mr.compare(curve, families[-1]), sep="\n")

    beta = curve.best("silhouette")
    chosen = integration.fold(multi, beta, model)
    adata.obsm["X_scVI"] = chosen.get_latent_representation()
    with seeded(0, "elbo"):
        error = float(chosen.get_reconstruction_error(indices=test)["reconstruction_loss"])
        expression = chosen.get_normalized_expression(n_samples=5, return_numpy=True)
    print(f"chosen beta {beta:.3g}: scvi's reconstruction error {error:.1f}, expression {expression.shape}")

    if out is not None:
        folder = Path(out)
        curve.save(folder / "curve.json")
        for name, family in zip(("scvi", "multirate"), families, strict=True):
            family.save(folder / f"dedicated-{name}.json")
        save(rate_distortion(curve, families), folder / "rate_distortion.png")
        draw_silhouettes(curve, families, folder / "silhouettes.png")
        shown = [BETA_RANGE.low, beta, BETA_RANGE.high]
        spaces = {one: integration.latents(multi, everything, one) for one in sorted(set(shown))}
        draw_latents(spaces, types, "one model's latents, principal components", folder / "latents.png")
        chosen.save(str(folder / "scvi-model"), overwrite=True)
    return curve


# %%
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="SCVI at every KL weight")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--betas", type=int, default=15)
    parser.add_argument("--dedicated", type=float, nargs="*", default=[0.1, 1.0, 3.0, 10.0], metavar="BETA")
    parser.add_argument("--out")
    parser.add_argument("--dispersion", default="gene-cell", choices=["gene", "gene-batch", "gene-label", "gene-cell"])
    parser.add_argument("--batch-norm", default="none", choices=["encoder", "decoder", "none", "both"])
    main(**vars(parser.parse_args()))
