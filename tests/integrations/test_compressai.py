"""CompressAI: its own loss in nats, quantisation under gates, folded codecs and their real files."""

import importlib.util
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import multirate as mr
from multirate.errors import BetaError, ConversionError, DataError, UsageError
from multirate.integrations import compressai as adapter
from multirate.objectives import DistortionWeighted
from multirate.seeding import seeded

if importlib.util.find_spec("compressai") is None:
    pytest.skip("CompressAI is not installed: pip install 'multirate[compressai]'", allow_module_level=True)


def _import_compressai() -> None:
    """Import it also beside a torchvision that has no operators for this torch, none of which it uses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import compressai.models
        except RuntimeError:
            library = torch.library.Library("torchvision", "FRAGMENT")
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            globals()["_kept"] = library
            import compressai.models  # noqa: F401


_import_compressai()

from compressai.losses import RateDistortionLoss  # noqa: E402
from compressai.models import FactorizedPrior, JointAutoregressiveHierarchicalPriors, ScaleHyperprior  # noqa: E402

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "compressai_celeba.py"
LAMBDAS = [0.0018, 0.01, 0.0483]


def hyperprior(channels: int = 6, latents: int = 8) -> Any:
    with seeded(0):
        return ScaleHyperprior(channels, latents)


def images(n: int = 4, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 8, 8, generator=g)
    return torch.nn.functional.interpolate(coarse, size=64, mode="bilinear")


@pytest.fixture(scope="module")
def trained() -> mr.MultiRate:
    model = adapter.convert(hyperprior())
    mr.fit(model, images(64), epochs=8, batch_size=8, learning_rate=3e-3, progress=False)
    adapter.settle(model)
    return model


@pytest.mark.parametrize("weight", LAMBDAS)
@pytest.mark.parametrize("training", [True, False])
def test_rate_and_distortion_are_compressais_loss_in_nats(weight: float, training: bool) -> None:
    net, x = hyperprior().train(training), images()
    with seeded(1):
        theirs = RateDistortionLoss(weight)(net(x), x)
    with seeded(1):
        terms = adapter.ImageCodec(net).terms(x)

    nats = 64 * 64 * math.log(2)
    loss = DistortionWeighted(power=1)(terms, weight).mean() - (0 if terms.extra is None else terms.extra.mean())
    assert (loss / nats).item() == pytest.approx(theirs["loss"].item(), rel=1e-5)
    assert adapter.bits_per_pixel(terms.rate.mean().item(), 64 * 64) == pytest.approx(theirs["bpp_loss"].item())
    assert terms.distortion.mean().item() == pytest.approx(255**2 * nats * theirs["mse_loss"].item(), rel=1e-5)


def test_the_auxiliary_loss_is_the_extra_loss_of_training_alone() -> None:
    codec = adapter.ImageCodec(hyperprior())
    extra = codec.train().terms(images()).extra
    assert extra is not None
    assert extra.tolist() == [codec.net.aux_loss().item()] * 4
    extra.sum().backward()
    moved = {name for name, p in codec.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert moved == {"net.entropy_bottleneck.quantiles"}
    assert codec.eval().terms(images()).extra is None
    assert adapter.ImageCodec(hyperprior(), auxiliary=False).train().terms(images()).extra is None


@pytest.mark.parametrize(
    ("net", "gated"), [(ScaleHyperprior, 14), (FactorizedPrior, 8), (JointAutoregressiveHierarchicalPriors, 14)]
)
def test_every_convolution_of_the_transforms_is_gated(net: Any, gated: int) -> None:
    plan = adapter.convert(net(6, 8)).plan
    assert len(plan.gated) == gated
    assert {layer.name.split(".")[1] for layer in plan.gated} <= {"g_a", "h_a", "g_s", "h_s"}
    assert not any("entropy_bottleneck" in layer.name for layer in plan.gated)


def seen(model: Any, x: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Return what the analysis gives and what the synthesis gets."""
    found: dict[str, Tensor] = {}
    net = model.base.net
    handles = [
        net.g_a.register_forward_hook(lambda _, args, out: found.update(y=out.detach())),
        net.g_s.register_forward_pre_hook(lambda _, args: found.update(rounded=args[0].detach())),
    ]
    model(x, beta=weight)
    for handle in handles:
        handle.remove()
    return found["y"], found["rounded"]


@pytest.mark.parametrize("weight", LAMBDAS)
def test_latents_are_rounded_to_whole_numbers_after_their_gates(trained: mr.MultiRate, weight: float) -> None:
    y, rounded = seen(trained.eval(), images(), weight)
    assert torch.equal(rounded, y.round())


@pytest.mark.parametrize("weight", LAMBDAS)
def test_the_noise_of_training_is_one_wide_at_every_lambda(trained: mr.MultiRate, weight: float) -> None:
    with seeded(0):
        y, noisy = seen(trained.train(), images(64), weight)
    trained.eval()
    noise = noisy - y
    assert noise.abs().max().item() <= 0.5 + 1e-4
    assert noise.var().item() == pytest.approx(1 / 12, rel=0.05)


def test_a_folded_codec_is_a_plain_hyperprior_with_the_librarys_keys(trained: mr.MultiRate) -> None:
    folded = mr.fold(trained, 0.01)
    assert type(folded.net) is ScaleHyperprior
    assert list(folded.net.state_dict()) == list(hyperprior().state_dict())
    torch.testing.assert_close(folded(images())["x_hat"], trained(images(), beta=0.01)["x_hat"], rtol=1e-3, atol=1e-4)
    folded.net.update()
    again = ScaleHyperprior.from_state_dict(folded.net.state_dict()).eval()
    torch.testing.assert_close(again(images())["x_hat"], folded(images())["x_hat"])


def test_files_are_as_long_as_the_entropy_model_says_and_decode_to_its_reconstruction(trained: mr.MultiRate) -> None:
    x, family = images(8, seed=5), adapter.Codecs(trained, LAMBDAS)
    for codec, weight in enumerate(LAMBDAS):
        files = family.compress(x, codec)
        with torch.no_grad():
            folded = mr.fold(trained, weight).to(memory_format=torch.contiguous_format)
            expected = torch.cat([folded(image)["x_hat"] for image in x.split(1)])
            bits = trained.terms(x, beta=weight).rate.sum().item() / math.log(2)
        assert all(file[0] == codec for file in files)
        # A header of four bytes; each of the two strings ends in the coder's state, at most eight bytes.
        spare = 8 * sum(map(len, files)) - bits
        assert -0.02 * bits <= spare <= 8 * 20 * len(files) + 0.03 * bits
        torch.testing.assert_close(family.decompress(files), expected.clamp(0, 1))


def test_a_copy_that_was_saved_and_loaded_decodes_the_files(trained: mr.MultiRate, tmp_path: Path) -> None:
    loaded = mr.load(trained.save(tmp_path), base=adapter.ImageCodec(hyperprior()))
    sender, receiver = adapter.Codecs(trained, LAMBDAS), adapter.Codecs(loaded, LAMBDAS)
    mixed = [file for codec in (2, 0, 1) for file in sender.compress(images(2), codec)]
    assert torch.equal(receiver.decompress(mixed), sender.decompress(mixed))
    sizes = [sum(map(len, sender.compress(images(), codec))) for codec in range(3)]
    assert len(set(sizes)) > 1


def test_all_lambdas_share_the_tables_of_the_coder(trained: mr.MultiRate) -> None:
    first, *others = adapter.Codecs(trained, LAMBDAS).nets
    for net in others:
        for name in ("_quantized_cdf", "_offset", "_cdf_length"):
            for part in ("entropy_bottleneck", "gaussian_conditional"):
                assert torch.equal(getattr(getattr(net, part), name), getattr(getattr(first, part), name))
        assert not torch.equal(net.g_a[0].weight, first.g_a[0].weight)


def test_settled_quantiles_are_those_of_the_density() -> None:
    codec = adapter.ImageCodec(hyperprior())
    before = codec.net.aux_loss().item()
    adapter.settle(codec)
    bottleneck = codec.net.entropy_bottleneck
    logits = bottleneck._logits_cumulative(bottleneck.quantiles, stop_gradient=True)
    torch.testing.assert_close(logits, bottleneck.target.expand_as(logits), rtol=1e-3, atol=1e-2)
    assert codec.net.aux_loss().item() < 0.01 * before
    assert bottleneck._offset.numel() == 0


def test_a_codec_alone_and_one_without_hyperprior_write_files() -> None:
    with seeded(0):
        net = adapter.ImageCodec(FactorizedPrior(6, 8))
    adapter.settle(net)
    alone = adapter.Codecs(net)
    decoded = alone.decompress(alone.compress(images(), 0))
    torch.testing.assert_close(decoded, net.eval()(images())["x_hat"].clamp(0, 1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**21, 2**35])
def test_numbers_of_a_header_are_read_as_written(value: int) -> None:
    written = adapter._number(value)
    assert adapter._read_number(written + b"rest") == (value, b"rest")
    assert len(written) == max(1, math.ceil(value.bit_length() / 7))


def test_files_that_cannot_be_read_are_refused(trained: mr.MultiRate) -> None:
    family = adapter.Codecs(trained, LAMBDAS)
    (file,) = family.compress(images(1), 1)
    with pytest.raises(DataError, match="codec 3, of 3"):
        family.decompress([b"\x03" + file[1:]])
    with pytest.raises(DataError, match="codec unknown"):
        family.decompress([b""])
    with pytest.raises(DataError, match="cut off within its header"):
        family.decompress([file[:2]])
    for damaged in (*(file[:-cut] for cut in (1, 2, 4, 8)), file[:6], file + b"\x00"):
        with pytest.raises(DataError, match="is damaged: its strings have"):
            family.decompress([damaged])
    with pytest.raises(DataError, match="damaged or cut off within its header"):
        family.decompress([b"\x01" + b"\x80" * 1_000_000 + b"\x01"])
    with pytest.raises(DataError, match=r"is of 1000000 x 1000000 latents"):
        family.decompress([b"\x01" + 2 * adapter._number(1_000_000) + file[3:]])
    with pytest.raises(UsageError, match="no file to decompress"):
        family.decompress([])
    with pytest.raises(UsageError, match="codec must be 0 to 2; got 3"):
        family.compress(images(1), 3)


def test_images_whose_sides_do_not_fit_are_refused(trained: mr.MultiRate) -> None:
    with pytest.raises(UsageError, match=r"a multiple of 64; got \[1, 3, 60, 64\]: pad or crop"):
        adapter.Codecs(trained, LAMBDAS).compress(images(1)[..., :60, :], 0)
    with pytest.raises(UsageError, match=r"a multiple of 64; got \[1, 3, 64, 60\]: pad or crop"):
        trained.terms(images(1)[..., :60], beta=LAMBDAS[0])


def test_what_cannot_be_a_codec_is_refused(trained: mr.MultiRate) -> None:
    with pytest.raises(ConversionError, match="CompressionModel; got Linear"):
        adapter.ImageCodec(torch.nn.Linear(2, 2))
    with pytest.raises(ConversionError, match="ImageCodec; got ScaleHyperprior"):
        adapter.Codecs(hyperprior())
    with pytest.raises(BetaError, match="weighs='distortion'"):
        adapter.convert(hyperprior(), mr.BetaRange(0.1, 1.0))
    with pytest.raises(UsageError, match="1 to 256 numbers"):
        adapter.Codecs(trained, [])
    with pytest.raises(BetaError, match="lambda 1 is outside"):
        adapter.Codecs(trained, [1.0])


def test_the_curve_gets_bits_and_decibels(trained: mr.MultiRate) -> None:
    x = images()
    curve = adapter.with_bits(mr.evaluate(trained, x, betas=LAMBDAS, measures=(), progress=False), 64 * 64)
    with torch.no_grad():
        expected = [trained(x, beta=weight)["x_hat"] for weight in LAMBDAS[::-1]]
    np.testing.assert_allclose(curve.values("lambda"), LAMBDAS[::-1])
    np.testing.assert_allclose(
        curve.values("psnr"), [-10 * math.log10((x - y).square().mean()) for y in expected], rtol=1e-4
    )
    np.testing.assert_allclose(curve.values("bpp") * 64 * 64 * math.log(2), curve.rates)


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("compressai_celeba", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    curve = module.main("digits", 1, 6, 8, examples=32, coded_images=4, out=str(tmp_path))
    assert mr.Curve.load(tmp_path / "curve.json") == curve
    assert {"curve.json", "dedicated.json", "files.json", "bits.png", "decoded.png"} <= {
        p.name for p in tmp_path.iterdir()
    }
    assert "codec 4" in capsys.readouterr().out
