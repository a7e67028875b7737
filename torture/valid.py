"""Valid files of every format, small ones."""

import gzip
import io
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

import multirate as mr
from multirate.curve import Curve, point
from multirate.experiments.spec import RunSpec
from multirate.training.config import TrainConfig


def saved(save: Callable[[Any], Any]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def zip_file(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    def save(buffer: io.BytesIO) -> None:
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, content in members.items():
                archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content, method)

    return saved(save)


def tar_file(members: Mapping[str, bytes]) -> bytes:
    def save(buffer: io.BytesIO) -> None:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))

    return gzip.compress(saved(save), 1, mtime=0)


def image_file(kind: str, size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> bytes:
    shape = (size[1], size[0]) if mode in ("L", "1") else (size[1], size[0], len(mode))
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    image = Image.fromarray(values > 127 if mode == "1" else values)
    return saved(lambda buffer: image.save(buffer, kind))


def npy_file(array: Any) -> bytes:
    return saved(lambda buffer: np.save(buffer, array))


def parquet_file(rows: int) -> bytes:
    from pyarrow import parquet, table

    texts = table({"text": [f"word {i} of many" for i in range(rows)]})
    return saved(lambda buffer: parquet.write_table(texts, buffer))


def torch_file(value: Any) -> bytes:
    return saved(lambda buffer: torch.save(value, buffer))


def written(save: Callable[[Path], Any]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        save(path)
        return path.read_bytes()


def two_curves() -> tuple[Curve, Curve]:
    betas = (0.1, 0.3, 1.0, 3.0)
    rates = [[4.0 / (1 + b), 0.001, 2 / (1 + b)] for b in betas]
    points = tuple(point(b, sum(r), 20 + 3 * b, active_units=3) for b, r in zip(betas, rates, strict=True))
    details = {"latent_rates": rates, "beta_range": [0.1, 3.0], "likelihood": "gaussian"}
    curve = Curve("mine", "mlp", "digits", "test", 10, points, details=details)
    return curve, replace(curve, label="others", points=tuple(point(b, 5 / (1 + b), 21 + 3 * b) for b in betas))


def two_models() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the files of a multi-rate model, and of a plain one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        model = mr.convert(mr.models.mlp(shape=(1, 4, 4), latents=2, hidden=(4,)), mr.BetaRange(0.1, 10.0)).eval()
        model.save(folder / "many")
        mr.save(mr.fold(model, 0.5), folder / "plain")
        many, plain = ({p.name: p.read_bytes() for p in (folder / part).iterdir()} for part in ("many", "plain"))
        return many, plain


def config_file() -> bytes:
    spec = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(RunSpec()).items()}
    document = {
        "run": spec,
        "training": asdict(TrainConfig()),
        "model": {"name": "mlp", "options": {"latents": 2}},
        "data": {"name": "digits", "split": "train", "examples": 10, "details": {"scale": 16}},
        "parameters": 100,
        "versions": {"python": "3.11"},
    }
    return yaml.safe_dump(document, sort_keys=False).encode()
