"""Runs to explore, trained in seconds by the library itself, and a package that stands in for onnxruntime-web."""

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from multirate.experiments.run import FinishedRun, evaluate_run, open_run, train
from multirate.experiments.spec import RunSpec
from multirate.integrations.explorer.runtime import Member, Release
from multirate.training import TrainConfig

SCRIPT, WASM = b"export const env = {};\n", b"\0asm\1\0\0\0"
PACKAGE = {
    "package/package.json": b'{"name": "onnxruntime-web"}',
    "package/dist/ort.wasm.bundle.min.mjs": SCRIPT,
    "package/dist/ort-wasm-simd-threaded.wasm": WASM,
    "package/dist/ort.all.js": b"much else",
}
LINES = [f"the {subject} sees a {thing}" for subject in ("cat", "dog") for thing in ("fish", "tree", "house")]


def digits_run(folder: Path, *, beta: float | None = None, betas: int = 6) -> FinishedRun:
    """Train and evaluate a small MLP on digits."""
    spec = RunSpec(data="digits", model="mlp", hidden=(32,), latents=6, beta=beta)
    train(spec, TrainConfig(epochs=8, batch_size=64, log_every=50), folder, progress=False)
    run = open_run(folder)
    evaluate_run(run, betas, progress=False)
    return run


def text_run(folder: Path) -> FinishedRun:
    """Train and evaluate a small LSTM on six sentences."""
    text = folder.with_suffix(".txt")
    text.parent.mkdir(parents=True, exist_ok=True)
    text.write_text("".join(f"{line}\n" for line in 20 * LINES), encoding="utf-8")
    spec = RunSpec(data=str(text), model="lstm", model_options=("embedding=8", "hidden=16", "dropout=0.0"), latents=3)
    train(spec, TrainConfig(epochs=4, batch_size=16, learning_rate=1e-2, log_every=50), folder, progress=False)
    run = open_run(folder)
    evaluate_run(run, 4, progress=False)
    return run


def pack(path: Path, files: Mapping[str, bytes | tarfile.TarInfo]) -> Path:
    """Write a gzipped archive of files, or of entries that are something else than a file."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def release_of(path: Path, script: bytes = SCRIPT) -> Release:
    """Return the release whose archive is the given one."""
    members = {
        "ort.js": Member("dist/ort.wasm.bundle.min.mjs", hashlib.sha256(script).hexdigest()),
        "ort-wasm-simd-threaded.wasm": Member("dist/ort-wasm-simd-threaded.wasm", hashlib.sha256(WASM).hexdigest()),
    }
    return Release("9.9.9", f"sha512:{hashlib.sha512(path.read_bytes()).hexdigest()}", members)
