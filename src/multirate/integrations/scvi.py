r"""scvi-tools: an ``SCVI`` model over a range of its ``kl_weight``, from one training.

Rate and distortion are scvi's own losses, cell by cell, in nats: :math:`R = \mathrm{KL}(q(z|x) \,\|\, p(z))`, plus the
KL divergence of the library size where that is a latent; :math:`D = -\log p(x|z)`, the ``reconstruction_loss`` summed
over genes. Beta is scvi's ``kl_weight``; only the divergence of a latent library size is weighed by 1 in scvi, and by
beta here.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.utils import skip_init

from multirate.beta import BetaRange
from multirate.convert import convert as convert_module
from multirate.curve import Curve, FloatArray
from multirate.data import Source
from multirate.errors import ConversionError, DataError, UsageError
from multirate.fold import fold as fold_module
from multirate.inference import at, base_of, inference, like_parameters, weight_of
from multirate.integrations.extras import require
from multirate.integrations.silhouettes import silhouette_batch, silhouette_label
from multirate.recalibrate import recalibrated
from multirate.response import RESPONSES
from multirate.terms import GaussianPosterior, Terms, diagonal_gaussian, gaussian_kl
from multirate.wrapper import MultiRate

__all__ = ["Cells", "SCVIModule", "adapt", "cells", "convert", "fold", "latents", "with_silhouettes"]

EXTRA = "scvi"
_ENCODER, _DECODER = "module.z_encoder", "module.decoder.px_decoder"
_INTEGERS = ("batch", "labels", "extra_categorical_covs")
_BATCH_SIZE = 500


@dataclass(frozen=True)
class Columns:
    """Where one of scvi's tensors lies in the packed rows of :class:`Cells`.

    Args:
        key: scvi's name of it, such as ``X`` or ``batch``.
        width: number of columns.
        integer: whether scvi wants whole numbers, as for categories.
    """

    key: str
    width: int
    integer: bool


class SCVIModule(nn.Module):
    """An scvi module with the methods that multirate asks for; the module itself is :attr:`module`, as it was given.

    Between posterior and decoder the latents pass :attr:`latent_scale`, an identity that is not trained: it is the
    layer whose input multirate gates, since scvi's decoder takes batches and covariates together with the latents.
    Therefore scvi's own methods are those of a model that :func:`fold` returns, not those of ``model.base.module``.

    Args:
        module: an ``scvi.module.VAE``; not copied.
        columns: of the packed rows that it takes.
    """

    def __init__(self, module: nn.Module, columns: Sequence[Columns]) -> None:
        super().__init__()
        of: Any = module
        self.module = module
        self.columns = tuple(columns)
        self.name = "SCVI"
        self.latents = int(of.n_latent)
        self.likelihood = str(of.gene_likelihood)
        weight = next(module.parameters())
        self.latent_scale = skip_init(nn.Linear, self.latents, self.latents, bias=False).to(weight)
        nn.init.eye_(self.latent_scale.weight.requires_grad_(False))
        self.training = module.training

    def unpack(self, x: Tensor) -> dict[str, Tensor]:
        """Return the tensors by the names that scvi gives them.

        Args:
            x: packed rows of :class:`Cells`, ``[B, columns]``.
        """
        parts = x.split([part.width for part in self.columns], dim=1)
        named = zip(self.columns, parts, strict=True)
        return {part.key: value.to(torch.int64) if part.integer else value for part, value in named}

    def forward(self, x: Tensor) -> Any:
        """Return what scvi's module returns: inference outputs, generative outputs and its losses."""
        tensors, of = self.unpack(x), self._any
        inferred = of.inference(**of._get_inference_input(tensors))
        inputs = of._get_generative_input(tensors, inferred)
        generated = of.generative(**(inputs | {"z": self.latent_scale(inputs["z"])}))
        return inferred, generated, of.loss(tensors, inferred, generated)

    def terms(self, x: Tensor) -> Terms:
        """Return rate and distortion of each cell.

        Args:
            x: packed rows of :class:`Cells`, ``[B, columns]``.

        Returns:
            Nats per cell, ``[B]``: sums of scvi's ``kl_local`` and ``reconstruction_loss``.
        """
        inferred, _, losses = self(x)
        rate, distortion = (sum(part.values()) for part in (losses.kl_local, losses.reconstruction_loss))
        assert isinstance(rate, Tensor)
        assert isinstance(distortion, Tensor)
        mean, log_variance = _moments(inferred)
        alone = inferred["ql"] is None
        return Terms(
            rate,
            distortion,
            latent_rate=gaussian_kl(mean, log_variance) if alone else None,
            posterior=GaussianPosterior(mean, log_variance, inferred["z"]) if alone and self._gaussian else None,
        )

    def encode(self, x: Tensor) -> Distribution:
        """Return the posterior of cells, a distribution over ``[Z]``; of a logistic normal before the softmax."""
        tensors, of = self.unpack(x), self._any
        return diagonal_gaussian(*_moments(of.inference(**of._get_inference_input(tensors))))

    def prior(self) -> Distribution:
        """Return the standard Gaussian over ``[Z]``."""
        zeros = next(self.module.parameters()).new_zeros(self.latents)
        return diagonal_gaussian(zeros, zeros)

    def log_weight(self, x: Tensor) -> Tensor:
        r"""Return :math:`\log p(x|z) + \log p(z) - \log q(z|x)` at one sample, with a latent library size in it.

        Args:
            x: packed rows of :class:`Cells`, ``[B, columns]``.

        Returns:
            Nats, ``[B]``.

        Raises:
            UsageError: if the latents are logistic normal, whose sample scvi gives after the softmax alone.
        """
        if not self._gaussian:
            raise UsageError("latent_distribution 'ln' gives no importance weights; use 'normal', or leave them out")
        inferred, generated, losses = self(x)
        weight = -sum(losses.reconstruction_loss.values())
        for sample, prior, posterior in (("z", "pz", "qz"), ("library", "pl", "ql")):
            if inferred[posterior] is not None:
                weight = weight + generated[prior].log_prob(inferred[sample]).sum(-1)
                weight = weight - inferred[posterior].log_prob(inferred[sample]).sum(-1)
        assert isinstance(weight, Tensor)
        return weight

    @torch.no_grad()
    def absorb_scale(self) -> None:
        """Put the scale of the latents into the decoder's first layer, whose first columns take them."""
        first = self._any.decoder.px_decoder.fc_layers[0][0].weight
        first[:, : self.latents] = first[:, : self.latents] @ self.latent_scale.weight
        nn.init.eye_(self.latent_scale.weight)

    @property
    def _any(self) -> Any:
        return self.module

    @property
    def _gaussian(self) -> bool:
        return bool(self._any.latent_distribution == "normal")


class Cells(Source):
    """Cells of an scvi model's AnnData: counts, batch, label and covariates of each in one row of numbers.

    Rows are read from the AnnData when they are asked for, so that a sparse or backed matrix stays one.

    Args:
        scvi_model: a model that was made with an AnnData.
        indices: of the cells to take, whole numbers or a mask; all by default.
        name: of the data set.
        split: ``train``, ``validation`` or ``test``.

    Raises:
        UsageError: if an index is no cell of the AnnData.
        ConversionError: if the model has no AnnData, or a minified one.
    """

    def __init__(self, scvi_model: Any, indices: ArrayLike | None, *, name: str, split: str) -> None:
        self.columns = _columns(scvi_model)
        self._dataset = scvi_model.adata_manager.create_torch_dataset()
        self.indices = _chosen(indices, len(self._dataset))
        width = sum(part.width for part in self.columns)
        layout = {part.key: part.width for part in self.columns}
        super().__init__((width,), name=name, split=split, likelihood="gaussian", details={"columns": layout})

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: Tensor) -> Tensor:
        """Return packed rows, float32, ``[B, columns]``.

        Raises:
            DataError: if a cell has no counts at all: scvi takes the logarithm of their sum.
        """
        wanted, order = np.unique(self.indices[indices.numpy()], return_inverse=True)  # backed data are read in order
        tensors = self._dataset[wanted.tolist()]
        empty = np.flatnonzero(np.asarray(tensors["X"]).sum(1) <= 0)
        if len(empty):
            raise DataError(f"{self.name}: cell {wanted[empty[0]]} has no counts; drop such cells before setup_anndata")
        rows = np.concatenate([np.asarray(tensors[part.key], dtype=np.float32) for part in self.columns], axis=1)
        return torch.from_numpy(rows[order])


def cells(scvi_model: Any, indices: ArrayLike | None = None, *, name: str = "cells", split: str = "train") -> Cells:
    """Return an scvi model's cells as data that ``fit`` and ``evaluate`` take.

    Args:
        scvi_model: as in :class:`Cells`.
        indices: as in :class:`Cells`, for instance ``scvi_model.train_indices``.
        name: of the data set.
        split: ``train``, ``validation`` or ``test``.

    Returns:
        The cells.

    Raises:
        UsageError: as :class:`Cells`.
        ConversionError: as :class:`Cells`.
    """
    return Cells(scvi_model, indices, name=name, split=split)


def adapt(scvi_model: Any) -> SCVIModule:
    """Give a plain SCVI model ``terms(x)``, so that :func:`multirate.evaluate` measures it at its ``beta=``.

    Args:
        scvi_model: an ``scvi.model.SCVI``; its module is used, not copied.

    Raises:
        ConversionError: if it is another model, has no module yet or minified data.
    """
    _check(scvi_model)
    return SCVIModule(scvi_model.module, _columns(scvi_model))


def convert(scvi_model: Any, beta_range: BetaRange | None = None, **options: Any) -> MultiRate:
    """Make a multi-rate model of an SCVI model.

    The hidden layers of its encoder and decoder are gated, after their BatchNorm, and the latents at the posterior's
    heads and on their way into the decoder. The heads of the decoder and the dispersion of genes stay as they are: with
    ``dispersion="gene-cell"`` the dispersion follows beta as well.

    Args:
        scvi_model: an ``scvi.model.SCVI``, trained or not; its module is copied.
        beta_range: the range of beta to serve, ``[0.01, 10]`` by default.
        options: of :func:`multirate.convert`. Paths of layers begin with ``module.``, as ``print(model.plan)`` shows.

    Returns:
        The multi-rate model; ``fit`` and ``evaluate`` take it with :func:`cells`.

    Raises:
        ConversionError: as :func:`adapt` and :func:`multirate.convert`.
    """
    base = adapt(scvi_model)
    encoders = [f"{_ENCODER}.encoder", *([] if base._any.use_observed_lib_size else ["module.l_encoder.encoder"])]
    named: dict[str, Any] = {"encoder": encoders, "decoder": _DECODER}
    if _gates_latents(options.get("response", "default")):
        usual = base._any.z_encoder.var_activation is torch.exp
        named["mean"] = f"{_ENCODER}.mean_encoder"
        named["log_variance"] = f"{_ENCODER}.var_encoder" if usual else ()
        named["latent_input"] = "latent_scale"
    return convert_module(base, beta_range, **(named | options))


def fold(model: MultiRate, beta: float, scvi_model: Any, *, recalibrate: Source | None = None) -> Any:
    """Take the SCVI model of one beta out of a multi-rate one; all of scvi's own methods work on it.

    Args:
        model: of :func:`convert`; not changed.
        beta: one number of its range.
        scvi_model: the model that was converted, for its AnnData and settings; not changed.
        recalibrate: training cells, to estimate BatchNorm statistics anew at this beta (see
            :func:`multirate.recalibrate.recalibrate`).

    Returns:
        A model of the class of ``scvi_model``, on the same AnnData, that counts as trained.

    Raises:
        ConversionError: if the two do not belong together.
        BetaError: if beta is not one number of the range.
    """
    _check(scvi_model)
    base = model.base if isinstance(model, MultiRate) else None
    if not isinstance(base, SCVIModule) or base.module.state_dict().keys() != scvi_model.module.state_dict().keys():
        raise ConversionError(
            "fold takes what multirate.integrations.scvi.convert made of this scvi_model; convert it first"
        )
    if recalibrate is None:
        plain = fold_module(model, beta)
    else:
        model.beta_range.check(beta)
        with recalibrated(model, recalibrate, beta):
            plain = fold_module(model, beta)
    assert isinstance(plain, SCVIModule)
    plain.absorb_scale()
    folded = copy.copy(scvi_model)  # one AnnData, and one registration of it, for both
    folded.module = plain.module.eval()
    folded.is_trained_, folded.history_ = True, None
    vars(folded).pop("trainer", None)
    return folded


def latents(model: nn.Module, data: Cells, beta: float | None = None) -> FloatArray:
    """Return the posterior means of cells, as ``get_latent_representation`` does for Gaussian latents.

    Args:
        model: of :func:`convert` or :func:`adapt`; its modes are left as found.
        data: of :func:`cells`.
        beta: of a multi-rate model.

    Returns:
        ``[N, Z]``.
    """
    base = base_of(model)
    if not isinstance(base, SCVIModule):
        raise ConversionError(f"latents are of what convert or adapt made; got a {type(base).__name__}")
    with inference(model), at(model, beta):
        batches = (data.batch(indices) for indices in torch.arange(len(data)).split(_BATCH_SIZE))
        means = [base.encode(like_parameters(x, model)).mean.cpu() for x in batches]
    return torch.cat(means).double().numpy()


def with_silhouettes(
    curve: Curve, model: nn.Module, data: Cells, labels: ArrayLike, batches: ArrayLike | None = None
) -> Curve:
    """Add silhouettes of the latents to each point of a curve, as in :mod:`multirate.integrations.silhouettes`.

    Args:
        curve: of ``model``.
        model: of :func:`convert`, or of :func:`adapt` for a curve of one point.
        data: of :func:`cells`; they need not be those that the curve was measured on.
        labels: of each cell, such as its type, ``[N]``.
        batches: of each cell, ``[N]``; without them there is no ``silhouette_batch``.

    Returns:
        The curve with ``silhouette_label`` and ``silhouette_batch``, and the number of cells in its details.

    Raises:
        UsageError: as :func:`~multirate.integrations.silhouettes.silhouette_label` and ``silhouette_batch``.
    """
    points = []
    for point in curve.points:
        z = latents(model, data, weight_of(model, point["beta"]))
        added = {"silhouette_label": silhouette_label(z, labels)}
        if batches is not None:
            added["silhouette_batch"] = silhouette_batch(z, labels, batches)
        points.append(point | added)
    return replace(curve, points=tuple(points), details=curve.details | {"silhouette_cells": len(data)})


def _moments(inferred: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    return inferred["qz"].loc, 2 * inferred["qz"].scale.log()


def _gates_latents(response: str | Mapping[str, str]) -> bool:
    return "latents" in (RESPONSES.get(response, {}) if isinstance(response, str) else response)


def _columns(scvi_model: Any) -> tuple[Columns, ...]:
    manager = getattr(scvi_model, "adata_manager", None)
    if manager is None:
        raise ConversionError(f"{type(scvi_model).__name__} has no AnnData; make it with one, after setup_anndata")
    if scvi_model.minified_data_type is not None:
        raise ConversionError("the AnnData is minified and has no counts; give the model the full one")
    row = manager.create_torch_dataset()[[0]]
    return tuple(Columns(key, int(value.shape[1]), key in _INTEGERS) for key, value in row.items())


def _chosen(indices: ArrayLike | None, count: int) -> NDArray[np.int64]:
    if indices is None:
        return np.arange(count)
    chosen = np.asarray(indices)
    if chosen.dtype == bool and chosen.shape == (count,):
        chosen = np.flatnonzero(chosen)
    whole = chosen.ndim == 1 and chosen.size > 0 and chosen.dtype.kind in "iu"
    if not whole or chosen.min() < 0 or chosen.max() >= count:
        raise UsageError(f"indices must be whole numbers from 0 to {count - 1}, or a mask of {count}; got {indices!r}")
    return chosen.astype(np.int64)


def _check(scvi_model: Any) -> None:
    if not isinstance(scvi_model, require("scvi.model", extra=EXTRA).SCVI):
        raise ConversionError(
            f"{type(scvi_model).__name__} is not an scvi.model.SCVI; give its module terms(x) that returns "
            "multirate.Terms, and use multirate.convert"
        )
    if not hasattr(getattr(scvi_model.module, "decoder", None), "px_decoder"):
        what = "no module yet" if scvi_model.module is None else f"a {type(scvi_model.module).__name__} as its module"
        raise ConversionError(f"the SCVI model has {what}; make it with an AnnData, after setup_anndata")
