"""Each reader of multirate as one call, which also asserts what must be true of what it read."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

import multirate as mr
from multirate import data
from multirate.cli import train as train_command
from multirate.collapse import Collapse
from multirate.comparison import Comparison
from multirate.curve import Curve
from multirate.data import celeba, cifar10, dsprites_file, mnist, omniglot, prepared, svhn, transfer, yahoo
from multirate.data.idx import read_idx
from multirate.data.imagefiles import zip_files
from multirate.data.images import Decoder, Look
from multirate.data.parts import Part, PartFile, verify_part
from multirate.data.source import Source
from multirate.data.text import Documents, TextSource
from multirate.data.vocabulary import Vocabulary
from multirate.errors import DataError, UsageError
from multirate.experiments import run as runs
from multirate.experiments import start
from multirate.experiments.facts import training_times
from multirate.experiments.spec import RunSpec, read_pairs
from multirate.experiments.weights import load_weights, read_weights
from multirate.integrations.explorer import runtime
from multirate.metrics import features
from multirate.reading import read_file
from multirate.report.run import read_run
from multirate.training import checkpoint
from multirate.training.folder import RunFolder
from torture.valid import config_file


def check_source(source: Source) -> None:
    """Assert that examples are what a source promises: finite, of the shape and in the range that it declares."""
    count = len(source)
    assert count > 0, "it has no examples"
    assert all(size > 0 for size in source.shape), f"its shape is {source.shape}"
    json.dumps(source.details, allow_nan=False)
    batch = source.batch(torch.tensor(sorted({0, count // 2, count - 1})))
    if isinstance(source, TextSource):
        assert source.vocabulary is not None
        assert batch.dtype == torch.int64, f"words are {batch.dtype}"
        assert 0 <= int(batch.min()) <= int(batch.max()) < len(source.vocabulary), "a word has no number"
        assert isinstance(source.text(0), str)
        return
    assert batch.dtype == torch.float32, f"values are {batch.dtype}"
    assert tuple(batch.shape[1:]) == source.shape, f"a batch is {list(batch.shape)}, examples {source.shape}"
    assert bool(batch.isfinite().all()), "values are not finite"
    assert source.value_range is not None
    low, high = source.value_range
    room = 1e-5 * max(1.0, abs(low), abs(high))
    assert low - room <= float(batch.min()) <= float(batch.max()) <= high + room, "values are out of range"
    if source.likelihood == "bernoulli":
        assert low >= 0 and high <= 1, f"bernoulli values from {low} to {high}"


def try_load(path: Path, **options: Any) -> None:
    check_source(data.load(path, "train", **options))


def try_folder_of_images(path: Path) -> None:
    check_source(data.load(path.parent, "train"))


def check_array(array: Any, shape: tuple[int | None, ...], kind: str) -> None:
    assert array.dtype == np.dtype(kind), f"it is {array.dtype}"
    fits = len(array.shape) == len(shape) and all(w in (None, g) for w, g in zip(shape, array.shape, strict=True))
    assert fits, f"its shape is {array.shape}"


def try_idx(path: Path) -> None:
    check_array(read_idx(path, (None, 4, 4))[0], (None, 4, 4), "u1")


def try_mat(path: Path) -> None:
    images, digits = svhn.read_mat(path, 2)
    check_array(images, (2, 3, 32, 32), "u1")
    assert 0 <= digits.min() <= digits.max() <= 9, "a digit is none"


def try_cifar(path: Path) -> None:
    images, labels = cifar10.read_batches(path, ("data_batch_1.bin", "data_batch_2.bin"), 2)
    check_array(images, (4, 3, 32, 32), "u1")
    assert labels.max() < 10, "a class is none"


def try_omniglot(path: Path) -> None:
    check_array(omniglot.read_drawings(path, "images_background", 2)[0], (2, 105, 105), "bool")


def try_celeba(path: Path) -> None:
    with zip_files(path) as files:
        numbers = files.numbers(f"img_align_celeba/{i:06}.jpg" for i in (1, 2))
        pixels, _ = Decoder(files, numbers, Look(148, 16, grayscale=False), required=(178, 218)).decoded()
    check_array(pixels, (2, 3, 16, 16), "u1")


def try_partition(path: Path) -> None:
    found = celeba.read_partition(path, {"train": 2, "validation": 1, "test": 1})
    assert {split: len(names) for split, names in found.items()} == {"train": 2, "validation": 1, "test": 1}


def try_dsprites(path: Path) -> None:
    packed = np.concatenate(list(dsprites_file.read_packed(path, 3)))
    check_array(packed, (3, 512), "u1")


def try_amat(path: Path) -> None:
    check_array(mnist.read_amat(path, 2, 6), (2, 6), "bool")


def try_documents(path: Path, member: str | None = None) -> None:
    documents = Documents(PartFile(path, member), clean=yahoo._clean)
    total, _ = documents.census()
    assert total == len(list(documents)) > 0
    verify_part(Part(("x",), "0" * 32, "x", "x"), PartFile(path, member))


def import_datasets() -> None:
    """Import the library of data sets, whose cache is then in this process's own folder."""
    os.environ |= {"HF_HOME": os.environ["XDG_CACHE_HOME"], "HF_HUB_OFFLINE": "1"}
    import datasets

    datasets.disable_progress_bars()


def try_hub(path: Path) -> None:
    check_source(data.load(f"hf:{path.parent}", "train", download=False))


def try_vocabulary(path: Path) -> None:
    words = Vocabulary.load(path)
    assert words.decode(words.encode(" ".join(words.words[4:20]))) == " ".join(words.words[4:20]), (
        "words are not its own"
    )
    assert len(words.checksum) == 64


def check_curve(curve: Curve) -> None:
    """Assert that a curve is one: finite numbers, betas in order, and everything that is asked of a curve answers."""
    for measure in curve.measures:
        assert bool(np.isfinite(curve.values(measure)).all()), f"{measure} is not finite"
    assert bool((np.diff(curve.betas) > 0).all()) and curve.betas[0] > 0, "betas are not in order"
    assert curve.examples > 0, f"it is of {curve.examples} examples"
    json.dumps(curve.to_dict(), allow_nan=False)
    assert str(curve).isascii() or str(curve).encode()
    assert all(math.isfinite(value) for value in curve.at(float(curve.betas[0])).values())
    if len(curve) > 1:
        middle = math.sqrt(curve.betas[0]) * math.sqrt(curve.betas[-1])
        assert all(math.isfinite(value) for value in curve.at(middle).values()), f"it is not finite at {middle}"


def try_curve(path: Path) -> None:
    check_curve(Curve.load(path))


def check_finite(value: Any, where: str = "it") -> None:
    if isinstance(value, float):
        assert math.isfinite(value), f"{where} is {value}"
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            check_finite(inner, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for inner in value:
            check_finite(inner, where)


def try_collapse(path: Path) -> None:
    report = Collapse.load(path)
    check_finite(report.to_dict())
    str(report)


def try_comparison(path: Path) -> None:
    found = Comparison.load(path)
    check_finite(found.to_dict())
    str(found)


def try_report(path: Path) -> None:
    read_run(path.parent)


def try_config(path: Path) -> None:
    assert all(isinstance(word, str) for word in train_command.expand(["--config", str(path)]))


def try_run(path: Path) -> None:
    spec = runs.open_run(path.parent).spec
    assert isinstance(spec, RunSpec)


def try_same(path: Path) -> None:
    RunFolder(path.parent).check_same(yaml.safe_load(config_file()))


def try_start(path: Path) -> None:
    found = start.read_start(path.parent)
    assert found.beta is None or (math.isfinite(found.beta) and found.beta > 0), f"its beta is {found.beta}"


def try_pairs(path: Path) -> None:
    try:
        text = read_file(path).decode("utf-8", "replace")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    try:
        assert read_pairs((f"option={text}",), f"an option of {path}").keys() == {"option"}
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def try_metrics(path: Path) -> None:
    for line in RunFolder(path.parent).truncate(3):
        assert line["step"] <= 3, "a line is after the step"


def try_times(path: Path) -> None:
    times = training_times(path)
    assert all(math.isfinite(value) and value >= 0 for value in times.values()), f"times are {times}"


def try_model(path: Path) -> None:
    model = mr.load(path.parent)
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values()), "a parameter is not finite"


def try_weights(path: Path) -> None:
    weights = read_weights(path)
    load_weights(nn.Linear(3, 2), weights, path)


def try_features(path: Path) -> None:
    features._load(nn.Linear(3, 2), path)


def try_checkpoint(path: Path) -> None:
    assert "step" in checkpoint.load(path)


def try_prepared(path: Path) -> None:
    found = prepared._ready(path.with_suffix(".npy"), (12, 1, 4, 4))
    if found is not None:
        file, digest, survey = found
        assert file.shape == (12, 1, 4, 4) and len(digest) == 64
        assert 0 <= survey.low <= survey.high <= 255, f"its values are from {survey.low} to {survey.high}"


def try_note(path: Path) -> None:
    assert isinstance(transfer._read_note(path), dict)


def try_runtime(path: Path) -> None:
    checksum = "sha512:" + hashlib.sha512(path.read_bytes()).hexdigest() if path.is_file() else "sha512:0"
    release = replace(RELEASE, checksum=checksum)
    written = runtime.copy_runtime(path, path.parent / "copied", release)
    assert {file.name for file in written} == {"ort.js", "LICENSE.txt"}, "other files were written"


SCRIPT = b"export const ort = 1;" * 20
RELEASE = runtime.Release(
    "1.0", "sha512:0", {"ort.js": runtime.Member("dist/ort.mjs", hashlib.sha256(SCRIPT).hexdigest())}
)
