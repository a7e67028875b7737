import json

import pytest
import torch

from multirate import models
from multirate.beta import BetaRange
from multirate.cli.main import main
from multirate.convert import convert
from multirate.data import as_source
from multirate.errors import UsageError
from multirate.experiments.linear import exact_terms, moments, on_its_optimum
from multirate.seeding import seeded

DIGITS = ["--data", "digits", "--data-options", "binarize=none", "--model", "linear", "--latents", "4"]


def gaussian_data(n: int = 4000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 6, generator=generator) * torch.tensor([3.0, 2.0, 1.0, 0.5, 0.2, 0.1]) + 1.5


def test_moments_are_those_of_all_examples():
    x = gaussian_data(25_000)
    mean, covariance = moments(as_source(x))
    torch.testing.assert_close(mean, x.double().mean(0))
    torch.testing.assert_close(covariance, torch.cov(x.double().T, correction=0))


@pytest.mark.slow
def test_exact_terms_equal_an_average_over_the_data_and_many_samples():
    x = gaussian_data()
    with seeded(1):
        model = models.linear(shape=(6,), latents=3).double()
        with torch.no_grad():
            terms = [model.terms(x.double()) for _ in range(200)]
    rate, distortion = exact_terms(model, *moments(as_source(x)))
    assert rate == pytest.approx(float(terms[0].rate.mean()), abs=1e-6)
    sampled = torch.stack([t.distortion.mean() for t in terms])
    assert abs(distortion - float(sampled.mean())) < 4 * float(sampled.std()) / len(terms) ** 0.5


@pytest.mark.slow
def test_a_trained_model_comes_down_to_its_optimum_and_not_below(tmp_path, capsys):
    out = tmp_path / "run"
    words = ["train", *DIGITS, "--response", "water-filling", "--epochs", "80", "--learning-rate", "0.01"]
    assert main([*words, "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["plot", str(out), "--optimum", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["excess"]) == 20
    assert min(shown["excess"]) > -1e-6
    assert max(shown["excess"]) < 0.5
    written = json.loads((out / "optimum.json").read_text())
    assert written["largest_excess"] == max(shown["excess"])
    assert (out / "figures" / "optimum.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "model",
    [
        convert(models.mlp(shape=(6,), latents=2), BetaRange()),
        models.linear(shape=(6,), latents=2),
        convert(models.linear(shape=(6,), latents=2, likelihood="bernoulli"), BetaRange()),
    ],
)
def test_a_model_without_a_known_optimum_is_refused(model):
    with pytest.raises(UsageError, match="the optimum is known for"):
        on_its_optimum(model, as_source(gaussian_data()))
