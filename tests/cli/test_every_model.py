"""Each model and objective from the command line: train, evaluate, fold, load, report."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import multirate as mr
from multirate.cli.main import main
from multirate.curve import Curve
from multirate.data import load
from multirate.seeding import seeded
from multirate.wrapper import MultiRate

FEW = ["--epochs", "1", "--batch-size", "8", "--latents", "3"]
TCVAE = ["--model", "mlp", "--hidden", "8", "8", "--model-options", "decoder_activation=tanh"]
NVAE = ["--model", "nvae", "--optimizer", "adamax", "--spectral-regularization", "0.01"]
CASES = {
    "convnet 32": ("colour32", ["--model", "convnet"]),
    "convnet 64": ("colour64", ["--model", "convnet", "--likelihood", "gaussian_learned"]),
    "resnet 32": ("colour32", ["--model", "resnet", "--likelihood", "squared_error"]),
    "resnet 64": ("colour64", ["--model", "resnet"]),
    "nvae binary": ("binary28", NVAE),
    "nvae colour": ("colour32", [*NVAE, "--likelihood", "discretized_logistic"]),
    "lstm": ("text", ["--model", "lstm", "--model-options", "embedding=4", "hidden=8"]),
    "mlp beta-tcvae": ("binary28", [*TCVAE, "--objective", "beta-tcvae"]),
    "mlp dip-vae-i": ("binary28", [*TCVAE, "--objective", "dip-vae-i"]),
    "mlp dip-vae-ii": ("binary28", [*TCVAE, "--objective", "dip-vae-ii"]),
    "mlp info-vae": ("binary28", [*TCVAE, "--objective", "info-vae"]),
    "mlp free-bits": ("binary28", [*TCVAE, "--objective", "free-bits", "--free-bits", "0.1"]),
}
MEASURES = {
    "nvae binary": {"rate_bits_per_dim", "distortion_bits_per_dim"},
    "nvae colour": {"rate_bits_per_dim", "distortion_bits_per_dim"},
    "lstm": {"nll", "perplexity"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Small files of each kind: images as bytes in .npz, binary images, and text."""
    folder = tmp_path_factory.mktemp("data")
    g = np.random.default_rng(0)
    arrays = {
        "colour32": g.integers(0, 256, (24, 3, 32, 32), dtype=np.uint8),
        "colour64": g.integers(0, 256, (24, 3, 64, 64), dtype=np.uint8),
        "binary28": g.random((40, 1, 28, 28)) < 0.3,
    }
    for name, values in arrays.items():
        np.savez(folder / f"{name}.npz", x=values)
    lines = [f"the {animal} sees a {thing}\n" for animal in ("cat", "dog") for thing in ("fish", "tree", "house")]
    (folder / "text.txt").write_text("".join(lines * 5))
    return {path.stem: str(path) for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_model_trains_evaluates_folds_and_loads(
    case: str, data: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, options = CASES[case]
    run, plain = tmp_path / "run", tmp_path / "plain"
    assert main(["train", "--data", data[name], *FEW, *options, "--out", str(run)]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(run), "--betas", "0.05,0.5,5", "--json"]) == 0
    curve = Curve.from_dict(json.loads(capsys.readouterr().out))
    assert curve.betas.tolist() == [0.05, 0.5, 5.0]
    assert set(curve.measures) >= MEASURES.get(case, set())
    assert ("group_rates" in curve.details) == case.startswith("nvae")
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").stat().st_size > 10_000
    assert main(["fold", str(run), "--beta", "0.5", "--out", str(plain)]) == 0
    _equal_at_a_half(mr.load(run / "model"), mr.load(plain), load(data[name], "test").batch(torch.arange(2)))


def _equal_at_a_half(model: torch.nn.Module, folded: torch.nn.Module, x: torch.Tensor) -> None:
    assert isinstance(model, MultiRate)
    assert not isinstance(folded, MultiRate)
    with torch.no_grad(), seeded(0):
        gated = model.terms(x, beta=0.5)
    with torch.no_grad(), seeded(0):
        alone = folded.terms(x)
    torch.testing.assert_close(alone.rate, gated.rate, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(alone.distortion, gated.distortion, rtol=1e-3, atol=1e-2)


@pytest.mark.slow
def test_a_recalibrated_curve_says_so_and_a_recalibrated_fold_has_other_statistics(
    data: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", "--data", data["binary28"], *FEW, "--model", "nvae", "--out", str(run)]) == 0
    assert main(["evaluate", str(run), "--betas", "0.05,5", "--recalibrate", "--no-figures"]) == 0
    capsys.readouterr()
    assert Curve.load(run / "curve.json").details["recalibrated"] is True
    for name, further in (("as-is", []), ("anew", ["--recalibrate"])):
        assert main(["fold", str(run), "--beta", "5", "--out", str(tmp_path / name), *further]) == 0
    before, after = (mr.load(tmp_path / name).state_dict() for name in ("as-is", "anew"))
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert all(key.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked") for key in changed)


@pytest.mark.slow
def test_the_report_of_a_text_run_shows_its_sentences(data: dict[str, str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = CASES["lstm"][1]
    assert main(["train", "--data", data["text"], *FEW, *options, "--out", str(run)]) == 0
    assert main(["evaluate", str(run), "--betas", "0.05,5"]) == 0
    points = json.loads((run / "sentences.json").read_text())["points"]
    assert [point["beta"] for point in points] == [0.05, 5.0]
    assert points[0]["inputs"] == points[1]["inputs"]
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "What it writes" in page
    assert all(text in page for point in points for text in (*point["inputs"], *point["samples"]))
