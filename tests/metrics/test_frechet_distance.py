import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor, nn
from torch.distributions import Independent, Normal

import multirate as mr
from multirate.cli.shared import Screen, Shared
from multirate.data import TensorSource
from multirate.errors import DataError, UsageError
from multirate.metrics.features import FeatureNetwork, NetworkOptions
from multirate.metrics.frechet_distance import RealFeatures, frechet_distance, names
from multirate.metrics.kernel_distance import kernel_distance
from multirate.report.further import measures as measures_figure
from multirate.terms import Terms, gaussian_kl

pytest.importorskip("torchmetrics.image.fid")

SAMPLES = "frechet_distance[quarters]"
NUMBERS = (
    SAMPLES,
    "reconstruction_frechet_distance[quarters]",
    "kernel_distance[quarters]",
    "reconstruction_kernel_distance[quarters]",
)


def normal(n: int, features: int, seed: int) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whitened(n: int, features: int, seed: int) -> Tensor:
    """Features whose mean is 0 and whose covariance, divided by n - 1, is the identity, exactly."""
    x = normal(n, features, seed)
    q, _ = torch.linalg.qr(x - x.mean(0))
    return q * (n - 1) ** 0.5


def by_scipy(x: Tensor, y: Tensor) -> float:
    """Slow truth: the square root of a matrix."""
    one, other = np.cov(x.numpy(), rowvar=False), np.cov(y.numpy(), rowvar=False)
    root = np.asarray(sqrtm(one @ other)).real
    return float((x.mean(0) - y.mean(0)).square().sum()) + float(np.trace(one + other - 2 * root))


def by_singular_values(x: Tensor, y: Tensor) -> float:
    """Truth for few images: the trace of the root is the sum of singular values of all inner products."""
    a, b = ((v - v.mean(0)) / (len(v) - 1) ** 0.5 for v in (x, y))
    spread = a.square().sum() + b.square().sum() - 2 * torch.linalg.svdvals(a @ b.T).sum()
    return float((x.mean(0) - y.mean(0)).square().sum() + spread)


class Quarters(nn.Module):
    """Two features of images of 4x4: mean brightness of the upper and of the lower half, and how many were seen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return torch.stack([half.float().mean((1, 2, 3)) / 255 for half in images.split(2, dim=2)], 1)


class Copy(nn.Module):
    """A VAE whose latents are the pixels, without noise unless a deviation is given; so is its prior."""

    def __init__(self, prior: Normal, shape: tuple[int, ...] = (1, 4, 4), deviation: float = 1e-9) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.shape = shape
        self._prior = prior
        self._deviation = deviation

    def encode(self, x: Tensor) -> Independent:
        return Independent(Normal(x.flatten(1), self._deviation), 1)

    def decode(self, z: Tensor) -> Independent:
        return Independent(Normal(z.reshape(-1, *self.shape), 1.0), len(self.shape))

    def prior(self) -> Normal:
        return self._prior

    def terms(self, x: Tensor) -> Terms:
        zeros = torch.zeros_like(x.flatten(1))
        return Terms(gaussian_kl(zeros, zeros).sum(-1), x.flatten(1).square().sum(-1))


def images(n: int, seed: int = 0) -> Tensor:
    return (0.5 + 0.1 * torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed))).clamp(0, 1)


def measured(model: nn.Module, data: Any, network: nn.Module | None = None, **options: Any) -> mr.Curve:
    """Evaluate both distances in the features of halves."""
    generated = options.pop("generated", None)
    chosen = NetworkOptions(network=network or Quarters(), network_name="quarters", generated=generated)
    return mr.evaluate(model, data, measures=("frechet_distance",), measure_options=chosen, **options)


def test_the_distance_of_gaussians_of_any_covariance_is_scipys() -> None:
    x = normal(200, 6, 0) @ normal(6, 6, 1) + 1
    y = normal(150, 6, 2) @ normal(6, 6, 3) - 2

    assert frechet_distance(x, y) == pytest.approx(by_scipy(x, y), rel=1e-9)
    assert frechet_distance(y, x) == pytest.approx(frechet_distance(x, y), rel=1e-9)


def test_the_distance_of_gaussians_with_common_axes_is_the_closed_form() -> None:
    scales, others = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 2.0, 0.1]).double()
    shift = torch.tensor([0.3, -1.0, 2.0]).double()

    found = frechet_distance(whitened(50, 3, 0) * scales, whitened(70, 3, 1) * others + shift)

    assert found == pytest.approx(float(shift.square().sum() + (scales - others).square().sum()), rel=1e-9)


def test_equal_sets_are_at_zero_and_a_shift_at_its_square() -> None:
    x = normal(100, 5, 0)
    shift = torch.arange(5.0).double()

    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-6)
    assert min(frechet_distance(few, few) for few in normal(2000, 5, 1).split(20)) == 0.0
    assert frechet_distance(x, x + shift) == pytest.approx(30.0, abs=1e-6)


def test_fewer_images_than_features_have_a_distance_all_the_same() -> None:
    x, y = normal(20, 60, 0), 2 * normal(30, 60, 1) + 0.5

    assert frechet_distance(x, y) == pytest.approx(by_singular_values(x, y), rel=1e-5)


def test_float32_features_are_compared_in_float64() -> None:
    x, y = normal(200, 4, 0).float() + 1000, normal(200, 4, 1).float() + 1000

    assert frechet_distance(x, y) == pytest.approx(by_scipy(x.double(), y.double()), abs=1e-6)


def test_order_does_not_matter_and_real_features_serve_again() -> None:
    x, y = normal(50, 3, 0), normal(50, 3, 1) + 1
    order = torch.randperm(50, generator=torch.Generator().manual_seed(2))
    real = RealFeatures(x)

    assert frechet_distance(x[order], y[order.flip(0)]) == pytest.approx(frechet_distance(x, y), rel=1e-10)
    assert frechet_distance(real, y + 5) == pytest.approx(frechet_distance(x, y + 5), rel=1e-12)
    assert frechet_distance(real, y) == pytest.approx(frechet_distance(x, y), rel=1e-12)


def test_what_cannot_be_compared_is_refused() -> None:
    x = normal(5, 3, 0)

    with pytest.raises(DataError, match=r"expected features \[N, 3\] of at least 2 images; got \[5, 2\]"):
        frechet_distance(x, x[:, :2])
    with pytest.raises(DataError, match=r"at least 2 images; got \[1, 3\]"):
        frechet_distance(x, x[:1])
    with pytest.raises(DataError, match="not finite"):
        frechet_distance(x / 0, x)


def test_fid_and_kid_are_names_of_inception_alone() -> None:
    assert names("inception") == ("fid", "kid")
    assert names("efficientnet_lite0") == (
        "frechet_distance[efficientnet_lite0]",
        "kernel_distance[efficientnet_lite0]",
    )


def test_a_model_that_copies_is_at_zero_and_its_samples_at_the_closed_form() -> None:
    curve = measured(Copy(Normal(0.6 * torch.ones(16), 0.05)), images(4000), generated=3000, beta=1.0)

    # Means of eight pixels, two halves: N(0.5, 0.1^2/8) against N(0.6, 0.05^2/8).
    expected = 2 * (0.1**2 + (0.1 - 0.05) ** 2 / 8)
    assert curve.points[0][SAMPLES] == pytest.approx(expected, rel=0.05)
    assert curve.points[0]["reconstruction_frechet_distance[quarters]"] == pytest.approx(0.0, abs=1e-6)
    assert curve.points[0]["reconstruction_kernel_distance[quarters]"] == pytest.approx(0.0, abs=1e-4)
    assert curve.points[0]["kernel_distance[quarters]"] > 0.01


def test_a_reconstruction_is_of_a_posterior_sample() -> None:
    curve = measured(Copy(Normal(torch.zeros(16), 1.0), deviation=0.1), images(4000), generated=100, beta=1.0)

    # Means of eight pixels, two halves, without and with the posterior's noise.
    expected = 2 * (0.2**0.5 - 0.1**0.5) ** 2 * 0.1 / 8
    assert curve.points[0]["reconstruction_frechet_distance[quarters]"] == pytest.approx(expected, rel=0.1)


def test_numbers_are_those_of_the_functions_on_the_pictures() -> None:
    data, model = images(60), Copy(Normal(0.6 * torch.ones(16), 0.05))
    state = torch.get_rng_state()
    shown: list[Tensor] = []
    model.decode = lambda z: shown.append(z) or Copy.decode(model, z)  # type: ignore[assignment, func-returns-value]

    point = measured(model, data, generated=130, beta=1.0).points[0]

    assert torch.equal(torch.get_rng_state(), state)
    samples = torch.cat([z for z in shown if len(z) != 60]).reshape(-1, 1, 4, 4)
    assert len(samples) == 130
    network = FeatureNetwork("quarters", Quarters())
    real, generated = network.features(data), network.features(samples)
    assert point[SAMPLES] == pytest.approx(frechet_distance(real, generated), rel=1e-9)
    assert point["kernel_distance[quarters]"] == pytest.approx(kernel_distance(real, generated), rel=1e-9)
    assert len(samples.flatten(1).unique(dim=0)) == 130


def test_values_of_another_range_are_drawn_in_it() -> None:
    model = Copy(Normal(0.6 * torch.ones(16), 0.05))
    wide = Copy(Normal(2 * 0.6 * torch.ones(16) - 1, 0.1))

    unit = measured(model, images(100), beta=1.0).points[0]
    signed = measured(wide, 2 * images(100) - 1, beta=1.0)

    assert signed.points[0][SAMPLES] == pytest.approx(unit[SAMPLES], rel=0.01)
    assert signed.details["measures"]["frechet_distance"]["black"] == -1

    bytes_ = measured(Copy(Normal(255 * 0.6 * torch.ones(16), 255 * 0.05)), 255 * images(100), beta=1.0)
    assert bytes_.points[0][SAMPLES] == pytest.approx(unit[SAMPLES], rel=0.01)
    for name in NUMBERS:
        assert bytes_.points[0][name] == pytest.approx(unit[name], rel=0.01, abs=1e-5)
    assert bytes_.details["measures"]["frechet_distance"]["white"] == 255


def test_the_result_does_not_depend_on_the_batch_size() -> None:
    model = Copy(Normal(0.6 * torch.ones(16), 0.05))
    whole = measured(model, images(90), beta=1.0).points[0]
    for batch_size in (17, 89):  # 89 leaves a batch of one
        parts = measured(model, images(90), beta=1.0, batch_size=batch_size).points[0]
        assert {name: parts[name] for name in NUMBERS} == pytest.approx(
            {name: whole[name] for name in NUMBERS}, abs=1e-7
        )


def test_every_beta_sees_the_same_draws_and_the_data_is_seen_once() -> None:
    network = Quarters()
    vae = mr.models.mlp(shape=(1, 4, 4), latents=2, hidden=(8,), likelihood="gaussian")
    model = mr.convert(vae, mr.BetaRange(0.1, 10.0))
    drawn: list[Tensor] = []
    decode = vae.decode
    model.base.decode = lambda z: drawn.append(z) or decode(z)  # type: ignore[assignment, func-returns-value]

    curve = measured(model, images(40), network, betas=3, batch_size=15, generated=25)

    assert network.seen == 40 + 3 * (40 + 25)
    samples = [z for z in drawn if len(z) == 25]
    assert len(samples) == 3
    assert torch.equal(samples[0], samples[1])
    assert torch.equal(samples[0], samples[2])
    assert set(NUMBERS) <= set(curve.measures)


def test_a_point_does_not_depend_on_the_other_betas() -> None:
    torch.manual_seed(0)
    vae = mr.models.mlp(shape=(1, 4, 4), latents=2, hidden=(8,), likelihood="gaussian")
    model = mr.convert(vae, mr.BetaRange(0.1, 10.0))

    both = measured(model, images(40), betas=[0.1, 10.0])
    alone = measured(model, images(40), betas=[10.0])

    assert both.points[1] == alone.points[0]
    assert both.points[0][SAMPLES] != both.points[1][SAMPLES]


def test_settings_say_what_the_numbers_are_of() -> None:
    model = Copy(Normal(0.6 * torch.ones(16), 0.05))

    settings = measured(model, images(60), beta=1.0, generated=50).details["measures"]["frechet_distance"]

    versions = settings.pop("versions")
    assert set(versions) == {"torchmetrics", "torch"}
    assert settings == {
        "network": "quarters",
        "resize": "none",
        "quantisation": "clipped and rounded to bytes; gray repeated to RGB",
        "features": 2,
        "examples": 60,
        "generated": 50,
        "black": 0.0,
        "white": 1.0,
        "reconstruction": "mean of the likelihood at a posterior sample",
        "sample": "mean of the likelihood at a prior sample",
        "singular": False,
        "kernel": "(x.y / features + 1)^3",
        "subsets": 10,
        "subset_size": 50,
        "dtype": "float64",
    }


def test_settings_have_the_versions_of_the_network_too(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = FeatureNetwork.settings
    monkeypatch.setattr(FeatureNetwork, "settings", lambda self: settings(self) | {"versions": {"mine": "1.2"}})
    found = measured(Copy(Normal(0.6 * torch.ones(16), 0.05)), images(30), beta=1.0).details["measures"]
    assert set(found["frechet_distance"]["versions"]) == {"mine", "torchmetrics", "torch"}


def test_too_few_images_for_a_covariance_warn_once() -> None:
    vae = mr.models.mlp(shape=(1, 4, 4), latents=2, hidden=(8,), likelihood="gaussian")
    model = mr.convert(vae, mr.BetaRange(0.1, 10.0))

    with pytest.warns(UserWarning, match="of 16 images with 16 features: the covariance is singular") as caught:
        curve = measured(model, images(16), nn.Sequential(First(), nn.Flatten()), betas=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measured(model, images(17), nn.Sequential(First(), nn.Flatten()), betas=2)

    assert len(caught) == 1
    assert curve.details["measures"]["frechet_distance"]["singular"] is True


class First(nn.Module):
    """The first colour."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0].float()


@pytest.mark.parametrize("missing", ["encode", "decode", "prior"])
def test_a_model_without_pictures_is_refused(missing: str) -> None:
    model = Copy(Normal(torch.zeros(16), 1.0))
    setattr(model, missing, None)
    with pytest.raises(UsageError, match=f"frechet_distance needs {missing}, which Copy lacks"):
        measured(model, images(5), beta=1.0)

    bare = nn.Linear(1, 1)
    bare.terms = model.terms  # type: ignore[assignment]
    with pytest.raises(UsageError, match="frechet_distance needs encode, which Linear lacks"):
        measured(bare, images(5), beta=1.0)


def test_data_that_is_no_image_is_refused() -> None:
    with pytest.raises(UsageError, match=r"an image is \[H, W\].*; got \[16\]"):
        measured(Copy(Normal(torch.zeros(16), 1.0), (16,)), images(5).flatten(1), beta=1.0)
    with pytest.raises(UsageError, match=r"values from -4 to 1"):
        measured(
            Copy(Normal(torch.zeros(16), 1.0)), TensorSource(-4 + 5 * torch.eye(16).reshape(16, 1, 4, 4)), beta=1.0
        )


def test_pictures_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="not finite"):
        measured(Copy(Normal(torch.full((16,), torch.inf), 1.0, validate_args=False)), images(5), beta=1.0)


def test_without_torchmetrics_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchmetrics"]:
        monkeypatch.setitem(sys.modules, name, None)
    message = r"_distance needs torchmetrics; install it with: pip install multirate\[frechet\]$"

    with pytest.raises(UsageError, match=message):
        measured(Copy(Normal(torch.zeros(16), 1.0)), images(5), beta=1.0)
    with pytest.raises(UsageError, match=message):
        frechet_distance(normal(5, 2, 0), normal(5, 2, 1))
    with pytest.raises(UsageError, match=message):
        kernel_distance(normal(5, 2, 0), normal(5, 2, 1))


def test_names_in_brackets_survive_files_tables_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vae = mr.models.mlp(shape=(1, 4, 4), latents=2, hidden=(8,), likelihood="gaussian")
    curve = measured(mr.convert(vae, mr.BetaRange(0.1, 10.0)), images(40), betas=3)
    curve.save(tmp_path / "curve.json")
    curve.save_csv(tmp_path / "curve.csv")

    assert mr.Curve.load(tmp_path / "curve.json").points == curve.points
    assert (tmp_path / "curve.csv").read_text().splitlines()[0].split(",")[-4:] == list(NUMBERS)
    assert json.loads((tmp_path / "curve.json").read_text())["details"]["measures"]["frechet_distance"]["features"] == 2
    Screen(Shared()).curve(curve)
    assert "reconstruction kernel distance [quarters]" in capsys.readouterr().out
    titles = [axes.get_title(loc="left") for axes in measures_figure(curve).axes]
    assert "frechet distance [quarters]" in titles
    assert SAMPLES in curve.at(1.5)
