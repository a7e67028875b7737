"""A multi-rate model as ONNX files: its rate-distortion curve without PyTorch, and what a call costs.

Run it: python examples/onnx_digits.py (a minute, nothing to download; extra onnx). With --out DIR it keeps curve and
figure.
"""

# %% [markdown]
# # ONNX Runtime alone measures the curve

# %%
import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch

import multirate as mr
from multirate.curve import point
from multirate.integrations.onnx import export_onnx
from multirate.report.figures import rate_distortion
from multirate.report.style import save

# %% [markdown]
# Train one model and export it. Beta is an input of the files, one number an example; the files are checked as they
# are written.


# %%
def exported(folder: Path, epochs: int) -> mr.MultiRate:
    """Train a multi-rate VAE on digits and write its ONNX files."""
    train = mr.data.load("digits", "train")
    torch.manual_seed(0)
    model = mr.convert(mr.models.mlp(shape=(1, 8, 8), latents=8, hidden=(128, 128)), mr.BetaRange(0.01, 10.0))
    mr.fit(model, train, epochs=epochs, seed=0, progress=False)
    export_onnx(model.eval(), folder, example=train.batch(torch.arange(8)))
    return model


# %% [markdown]
# Everything from here to the points of the curve is NumPy and ONNX Runtime: this could run where PyTorch is not.


# %%
def onnx_points(folder: Path, x: np.ndarray, betas: np.ndarray, samples: int) -> list[dict[str, float]]:
    """Measure rate and distortion of binary data with the exported encoder and decoder."""
    encoder, decoder = (onnxruntime.InferenceSession(folder / f"{name}.onnx") for name in ("encoder", "decoder"))
    noise = np.random.default_rng(0)
    points = []
    for beta in betas:
        one_each = np.full(len(x), beta, dtype=np.float32)
        mean, log_variance, rate, _ = encoder.run(None, {"x": x, "beta": one_each})
        distortions = []
        for _ in range(samples):
            z = mean + np.exp(0.5 * log_variance) * noise.standard_normal(mean.shape, dtype=np.float32)
            (p,) = decoder.run(None, {"z": z, "beta": one_each})
            p = np.clip(p.astype(np.float64), 1e-12, 1 - 1e-7)
            distortions.append(-(x * np.log(p) + (1 - x) * np.log1p(-p)).sum((1, 2, 3)).mean())
        points.append(point(float(beta), float(rate.mean()), float(np.mean(distortions))))
    return points


def seconds(call, repeats: int = 200) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def milliseconds(model: mr.MultiRate, folder: Path, x: torch.Tensor) -> dict[str, dict[str, float]]:
    """Time a reconstruction of one image and of 64, each at a beta of its own, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "reconstruction.onnx", options)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {}
    for count in (1, 64):
        images, betas = x[:count], model.beta_range.grid(64, dtype=torch.float32)[:count]
        inputs = {"x": images.numpy(), "beta": betas.numpy()}
        with torch.no_grad():
            eager = seconds(lambda images=images, betas=betas: model(images, beta=betas))
        there = seconds(lambda inputs=inputs: session.run(None, inputs))
        found[f"batch of {count}"] = {"torch": round(1000 * eager, 3), "onnxruntime": round(1000 * there, 3)}
    torch.set_num_threads(threads)
    return found


# %% [markdown]
# The same curve twice: from the files, and from the model itself.


# %%
def main(epochs: int = 60, betas: int = 10, samples: int = 100, out: Path | None = None) -> dict[str, object]:
    """Train, export, measure both ways, and say by how much they differ."""
    test = mr.data.load("digits", "test")
    x = test.batch(torch.arange(len(test)))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = exported(folder, epochs)
        difference = json.loads((folder / "onnx.json").read_text())["largest_difference"]
        grid = model.beta_range.grid(betas).numpy()
        points = onnx_points(folder, x.numpy(), grid, samples)
        times = milliseconds(model, folder, x)
    here = mr.evaluate(model, test, betas=betas, samples=samples, progress=False)
    there = mr.Curve("from the ONNX files", "mlp", "digits", "test", len(test), tuple(points), samples=samples)
    gap = max(abs(a["objective"] - b["objective"]) for a, b in zip(there.points, here.points, strict=True))
    found = {"largest_difference": difference, "objective_gap": round(gap, 4), "milliseconds": times}
    print(there)
    print(json.dumps(found, indent=1))
    if out is not None:
        there.save(out / "curve.json")
        save(rate_distortion(here, there), out / "rate_distortion.png")
        (out / "numbers.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--betas", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    main(options.epochs, options.betas, out=options.out)
