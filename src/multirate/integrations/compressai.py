r"""CompressAI: its models trained with lambda become one model for a range of lambda, and a family of codecs.

CompressAI minimises :math:`\lambda\, 255^2\, \mathrm{MSE} + \mathrm{bpp}` over images of P pixels. In nats per image
that is :math:`R + \lambda D` with

.. math:: R = -\sum \log p, \qquad D = 255^2 \log 2 \cdot P \cdot \mathrm{MSE}, \qquad \mathrm{bpp} = R / (P \log 2),

so that lambda is CompressAI's own. The sum is over all latents and hyperlatents of an image, p their likelihoods.
"""

import copy
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from multirate.beta import BetaRange
from multirate.convert import convert as convert_module
from multirate.curve import Curve
from multirate.errors import BetaError, ConversionError, DataError, UsageError
from multirate.fold import fold as fold_module
from multirate.integrations.extras import require
from multirate.terms import Terms
from multirate.wrapper import MultiRate

__all__ = ["Codecs", "ImageCodec", "bits_per_pixel", "convert", "settle", "with_bits"]

EXTRA = "compressai"
ANALYSIS, SYNTHESIS = ("g_a", "h_a"), ("g_s", "h_s")
# The range of lambda of CompressAI's published models for mean squared error.
LAMBDAS = (0.0018, 0.0483)
_PEAK = 255.0
_MOST_CODECS = 256
# Places of latents of one image, such as 512 x 512 of 16 x 16 pixels each; and bytes of a number in the header.
_MOST_LATENTS = 1 << 18
_LONGEST_NUMBER = 9


class ImageCodec(nn.Module):
    r"""A CompressAI model with the rate and distortion that multirate asks for; the model itself is :attr:`net`.

    In training mode the latents have CompressAI's uniform noise, in evaluation mode they are rounded: curves are of
    quantised latents. Gates multiply the latents before either, so that a gate above 1 is a finer quantiser.

    Args:
        net: a ``compressai.models.CompressionModel`` whose forward gives ``x_hat`` and ``likelihoods``; not copied.
        auxiliary: give the entropy models' own loss, which moves their quantiles alone, as `Terms.extra`
            while training.

    Raises:
        ConversionError: if ``net`` is no CompressAI model.
        UsageError: if CompressAI is not installed.
    """

    def __init__(self, net: nn.Module, *, auxiliary: bool = True) -> None:
        super().__init__()
        kind = require("compressai.models", extra=EXTRA).CompressionModel
        if not isinstance(net, kind):
            raise ConversionError(f"a codec needs a compressai.models.CompressionModel; got {type(net).__name__}")
        self.net = net
        self.auxiliary = auxiliary
        self.name = type(net).__name__
        self.likelihood = "scaled_squared_error"
        self.training = net.training

    def forward(self, x: Tensor) -> Any:
        """Return what the model returns: a dictionary with ``x_hat`` and ``likelihoods``."""
        return self.net(x)

    def terms(self, x: Tensor) -> Terms:
        r"""Return rate and distortion of each image.

        Args:
            x: images in ``[0, 1]``, ``[B, C, H, W]``, sides a multiple of ``net.downsampling_factor``.

        Returns:
            :math:`R` and :math:`D` of the module's equations, nats per image, ``[B]``. For lambda and a batch the mean
            of :math:`(R + \lambda D) / (P \log 2)` is CompressAI's ``RateDistortionLoss``.

        Raises:
            UsageError: if the model cannot take images of this size.
        """
        _check_sides(self.net, x)
        out = self.net(x)
        rate = -sum(likelihoods.log().flatten(1).sum(1) for likelihoods in out["likelihoods"].values())
        error = (x - out["x_hat"]).square().flatten(1).mean(1)
        extra = None
        if self.training and self.auxiliary:
            extra = self.net.aux_loss().expand(len(x))
        pixels = x.shape[-2] * x.shape[-1]
        return Terms(rate, _PEAK**2 * math.log(2) * pixels * error, extra=extra)


def convert(net: nn.Module, beta_range: BetaRange | None = None, **options: Any) -> MultiRate:
    """Make a CompressAI model serve a range of lambda: every convolution of its transforms is gated.

    All lambdas share the entropy bottleneck's density; what it is of, the output of the hyper-analysis, is gated.

    Args:
        net: as for :class:`ImageCodec`; it is copied.
        beta_range: a range with ``weighs="distortion"``; by default that of CompressAI's published models.
        options: of :func:`multirate.convert`; the sides are ``g_a``, ``h_a`` and ``g_s``, ``h_s`` unless they say else.

    Returns:
        The multi-rate model, whose base is an :class:`ImageCodec`.

    Raises:
        ConversionError: if ``net`` is no CompressAI model, or as :func:`multirate.convert`.
        BetaError: if the range is one of beta.
        UsageError: if CompressAI is not installed.
    """
    beta_range = beta_range or BetaRange(*LAMBDAS, weighs="distortion")
    if beta_range.weighs != "distortion":
        raise BetaError(
            f"CompressAI's lambda weighs the distortion: give BetaRange(..., weighs='distortion'), not {beta_range}"
        )
    codec = ImageCodec(net)
    sides = {
        side: [f"net.{name}" for name in names if hasattr(net, name)]
        for side, names in (("encoder", ANALYSIS), ("decoder", SYNTHESIS))
    }
    return convert_module(codec, beta_range, **(sides | options))


def settle(model: nn.Module) -> None:
    """Set the quantiles of every entropy bottleneck to those of its density, exactly, after training.

    Medians are what hyperlatents are rounded about, the outer quantiles how far the tables of a coder reach. The
    auxiliary loss approaches the same, in steps of the learning rate.

    Args:
        model: an :class:`ImageCodec`, plain or multi-rate, changed in place.

    Raises:
        UsageError: if CompressAI is not installed.
    """
    kind = require("compressai.entropy_models", extra=EXTRA).EntropyBottleneck
    for module in model.modules():
        if isinstance(module, kind):
            found = copy.deepcopy(module)
            found.update(force=True, update_quantiles=True)
            with torch.no_grad():
                module.quantiles.copy_(found.quantiles)


def bits_per_pixel(rate: float, pixels: int) -> float:
    """Return a rate in nats per image as bits per pixel.

    Args:
        rate: nats per image.
        pixels: height times width.
    """
    return rate / (pixels * math.log(2))


def with_bits(curve: Curve, pixels: int) -> Curve:
    r"""Return a curve with the measures of image compression added: ``bpp`` and ``psnr``.

    Args:
        curve: of an :class:`ImageCodec`.
        pixels: height times width of each image.

    Returns:
        The curve; ``psnr`` is :math:`10 \log_{10}(1 / \mathrm{MSE})` in dB, of the mean error over all images.
    """
    points = []
    for p in curve.points:
        error = p["distortion"] / (_PEAK**2 * math.log(2) * pixels)
        measured = {"bpp": bits_per_pixel(p["rate"], pixels), "psnr": -10 * math.log10(error)}
        points.append(p | measured)
    return dataclasses.replace(curve, points=tuple(points))


class Codecs:
    """CompressAI models of several lambdas, folded out of one, behind one file format.

    A file begins with the number of its codec, one byte, which tells the decoder lambda; the size of its hyperlatents
    and the length of each string follow, a byte each where they are below 128; then the strings of CompressAI's coder.

    Args:
        model: from :func:`convert`, trained and settled (:func:`settle`); or an :class:`ImageCodec`, one codec alone.
        lambdas: of the codecs, in any order, which encoder and decoder share; not for an :class:`ImageCodec`.

    Raises:
        UsageError: if there are no lambdas or more than 256.
        BetaError: if one is outside the model's range.
        ConversionError: if ``model`` holds no CompressAI model.
    """

    def __init__(self, model: nn.Module, lambdas: Sequence[float] = ()) -> None:
        if isinstance(model, MultiRate):
            if not 0 < len(lambdas) <= _MOST_CODECS:
                raise UsageError(
                    f"lambdas must be 1 to {_MOST_CODECS} numbers of {model.beta_range}; got {len(lambdas)}"
                )
            codecs: list[Any] = [fold_module(model, weight) for weight in lambdas]
        else:
            codecs = [copy.deepcopy(model)]
        if not all(isinstance(codec, ImageCodec) for codec in codecs):
            raise ConversionError(f"a codec is made of an ImageCodec; got {type(codecs[0]).__name__}")
        self.lambdas = tuple(lambdas)
        self.nets: list[Any] = [codec.net.eval() for codec in codecs]
        for net in self.nets:
            # Another layout of the weights rounds otherwise, and encoder and decoder must agree to the last bit.
            net.to(memory_format=torch.contiguous_format)
            net.update(force=True)

    @torch.no_grad()
    def compress(self, x: Tensor, codec: int) -> list[bytes]:
        """Compress images.

        Args:
            x: images in ``[0, 1]``, ``[B, C, H, W]``, where the model is.
            codec: number of the codec to use, the place of its lambda.

        Returns:
            One file an image.

        Raises:
            UsageError: if there is no such codec, or it cannot take images of this size.
        """
        _check_sides(self.nets[0], x)
        if not 0 <= codec < len(self.nets):
            raise UsageError(f"codec must be 0 to {len(self.nets) - 1}; got {codec}")
        return [self._compress(image, codec) for image in x.split(1)]

    def _compress(self, image: Tensor, codec: int) -> bytes:
        """Write one image; several at once may round otherwise than one, and the decoder would lose its place."""
        found = self.nets[codec].compress(image)
        strings = [string for (string,) in found["strings"]]
        numbers = (*found["shape"], *map(len, strings))
        return bytes([codec]) + b"".join(_number(int(number)) for number in numbers) + b"".join(strings)

    @torch.no_grad()
    def decompress(self, files: Sequence[bytes]) -> Tensor:
        """Decompress files, one after the other.

        Args:
            files: from :meth:`compress` of this object, or of one made of the same model and lambdas elsewhere; all of
                images of one size.

        Returns:
            Images in ``[0, 1]``, ``[B, C, H, W]``.

        Raises:
            UsageError: if there is no file.
            DataError: if a file is cut off, too long, or names a codec that is not there.
        """
        if not files:
            raise UsageError("there is no file to decompress")
        return torch.cat([self._decompress(file) for file in files])

    def _decompress(self, file: bytes) -> Tensor:
        if not file or file[0] >= len(self.nets):
            raise DataError(
                f"the file is of codec {file[0] if file else 'unknown'}, of {len(self.nets)}; use its own lambdas"
            )
        net, rest, numbers = self.nets[file[0]], file[1:], []
        coded = 1 + hasattr(net, "h_a")
        for _ in range(2 + coded):
            number, rest = _read_number(rest)
            numbers.append(number)
        if not 0 < numbers[0] * numbers[1] <= _MOST_LATENTS:
            raise DataError(f"the file is damaged: it is of {numbers[0]} x {numbers[1]} latents")
        if len(rest) != sum(numbers[2:]):
            raise DataError(f"the file is damaged: its strings have {len(rest)} bytes and not {sum(numbers[2:])}")
        strings = []
        for length in numbers[2:]:
            strings.append([rest[:length]])
            rest = rest[length:]
        found: Tensor = net.decompress(strings, torch.Size(numbers[:2]))["x_hat"]
        return found


def _check_sides(net: Any, x: Tensor) -> None:
    factor = getattr(net, "downsampling_factor", 1)
    if x.ndim != 4 or x.shape[-2] % factor or x.shape[-1] % factor:
        raise UsageError(
            f"images must be [B, C, H, W] with sides a multiple of {factor}; got {list(x.shape)}: pad or crop them"
        )


def _number(value: int) -> bytes:
    """Write a number of any size, seven bits a byte, low ones first; the top bit says that more follow."""
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _read_number(data: bytes) -> tuple[int, bytes]:
    value = 0
    for place, byte in enumerate(data[:_LONGEST_NUMBER]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, data[place + 1 :]
    raise DataError("the file is damaged or cut off within its header")
