"""Every reader of files in multirate, with valid files to begin from and the damage that suits their format."""

import gzip
import itertools
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from scipy.io import savemat
from torch import Tensor

from multirate.collapse import collapse
from multirate.comparison import compare
from multirate.data import dsprites_file
from torture import formats, mutations
from torture.formats import gzipped, tarred, zipped
from torture.mutations import Mutation, lines, scramble
from torture.trials import (
    SCRIPT,
    import_datasets,
    try_amat,
    try_celeba,
    try_checkpoint,
    try_cifar,
    try_collapse,
    try_comparison,
    try_config,
    try_curve,
    try_documents,
    try_dsprites,
    try_features,
    try_folder_of_images,
    try_hub,
    try_idx,
    try_load,
    try_mat,
    try_metrics,
    try_model,
    try_note,
    try_omniglot,
    try_pairs,
    try_partition,
    try_prepared,
    try_report,
    try_run,
    try_runtime,
    try_same,
    try_start,
    try_times,
    try_vocabulary,
    try_weights,
)
from torture.valid import (
    config_file,
    image_file,
    npy_file,
    parquet_file,
    saved,
    tar_file,
    torch_file,
    two_curves,
    two_models,
    written,
    zip_file,
)


@dataclass(frozen=True)
class Reader:
    """A reader, and how to try it.

    Args:
        name: of what it reads.
        file: name under which the input lies in the folder.
        seeds: valid files.
        read: reads the file; raises ``AssertionError`` if what was read is not valid.
        mutate: damages a file in its format's own parts.
        beside: further files of the folder, all valid.
        weight: share of the inputs, relative to others.
        prepare: what is to be done in the process that reads, before the first input.
    """

    name: str
    file: str
    seeds: list[bytes] = field(repr=False)
    read: Callable[[Path], Any]
    mutate: Mutation = scramble
    beside: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    weight: float = 1.0
    prepare: Callable[[], None] | None = None


def array_readers() -> list[Reader]:
    """Readers of arrays."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 1, 4, 4), dtype=np.uint8)
    floats = rng.standard_normal((12, 5)).astype(np.float32)
    bits = rng.integers(0, 2, (12, 4, 4)).astype(np.uint8)
    arrays = [npy_file(images), npy_file(floats), npy_file(bits)]
    idx = bytes((0, 0, 8, 3)) + np.array((5, 4, 4), dtype=">u4").tobytes() + images[:5].tobytes()
    tensors = {"x": torch.from_numpy(floats), "y": torch.arange(12.0)[:, None]}
    packed = [
        zip_file({"x.npy": arrays[1], "y.npy": arrays[0]}),
        zip_file({"train.npy": arrays[0], "test.npy": arrays[0]}, zipfile.ZIP_STORED),
        zip_file({"x.npy": arrays[2], "labels.npy": npy_file(np.array([["a"]]))}),
    ]
    matlab = [
        saved(
            lambda buffer, packed=packed: savemat(
                buffer,
                {"X": rng.integers(0, 256, (32, 32, 3, 2), dtype=np.uint8), "y": np.array([[10], [3]], dtype=np.uint8)},
                do_compression=packed,
            )
        )
        for packed in (True, False)
    ]
    record = {"sha256": "0" * 64, "survey": {"low": 0.0, "high": 255.0, "two": False}}
    sprites = {
        "latents_classes.npy": npy_file(dsprites_file.grid_factors(np.arange(3))),
        "imgs.npy": npy_file(rng.integers(0, 2, (3, 64, 64)).astype(np.uint8)),
    }
    return [
        Reader("idx", "a.idx", [idx], try_idx, weight=1),
        Reader("idx.gz", "a.idx.gz", [gzip.compress(idx, mtime=0)], try_idx, gzipped(scramble)),
        Reader("npy", "a.npy", arrays, try_load, formats.npy, weight=1.5),
        Reader("npy, mapped", "a.npy", arrays, partial(try_load, memory_limit=0), formats.npy, weight=1.5),
        Reader("npz", "a.npz", packed, try_load, zipped(formats.npy), weight=1.5),
        Reader("safetensors", "a.safetensors", [safetensors.torch.save(tensors)], try_load, formats.safetensors),
        Reader(
            "pt",
            "a.pt",
            [torch_file(tensors), torch_file(torch.from_numpy(images))],
            try_load,
            zipped(scramble),
            weight=0.7,
        ),
        Reader("mat", "a.mat", matlab, try_mat, formats.mat, weight=1.5),
        Reader("dsprites npz", "a.npz", [zip_file(sprites)], try_dsprites, zipped(formats.npy)),
        Reader(
            "prepared images",
            "p.npy",
            [arrays[0]],
            try_prepared,
            formats.npy,
            {"p.json": json.dumps(record).encode()},
        ),
        Reader(
            "prepared record",
            "p.json",
            [json.dumps(record).encode()],
            try_prepared,
            mutations.json_text,
            {"p.npy": arrays[0]},
        ),
    ]


def image_readers() -> list[Reader]:
    """Readers of images and of archives of them."""
    pngs = [image_file("PNG", (8, 8), mode, seed) for seed, mode in enumerate(("RGB", "L", "RGBA", "1"))]
    jpegs = [image_file("JPEG", (8, 8)), image_file("JPEG", (8, 8), "L")]
    names = [f"train/{i:02}.png" for i in range(3)] + ["test/0.png", "validation/0.jpg"]
    archive = zip_file(dict(zip(names, [pngs[0]] * 4 + [jpegs[0]], strict=True)))
    flat = zip_file({f"all/{i:02}.jpg": jpegs[0] for i in range(10)}, zipfile.ZIP_STORED)
    drawing = image_file("PNG", (105, 105), "1")
    drawings = zip_file({f"images_background/Greek/character01/00{i}_01.png": drawing for i in (1, 2)})
    faces = zip_file({f"img_align_celeba/{i:06}.jpg": image_file("JPEG", (178, 218), seed=i) for i in (1, 2)})
    batch = np.random.default_rng(0).integers(0, 10, (2, 3073), dtype=np.uint8).tobytes()
    cifar = tar_file(
        {f"cifar-10-batches-bin/{n}": batch for n in ("batches.meta.txt", "data_batch_1.bin", "data_batch_2.bin")}
    )
    others = {f"train/{i:02}.png": pngs[i % 2] for i in range(2)} | {"test/0.png": pngs[0], "val/0.png": pngs[0]}
    amat = b"0 1 0 1 1 0 \n1 1 0 0 0 1 \n"
    return [
        Reader(
            "png", "train/x.png", pngs, lambda path: try_folder_of_images(path.parent), formats.png, others, weight=1.5
        ),
        Reader(
            "jpeg", "train/x.jpg", jpegs, lambda path: try_folder_of_images(path.parent), scramble, others, weight=1.5
        ),
        Reader("zip of images", "a.zip", [archive, flat], try_load, zipped(formats.png), weight=1.5),
        Reader(
            "zip of images, mapped",
            "a.zip",
            [archive, flat],
            partial(try_load, memory_limit=0),
            zipped(formats.png),
            weight=0.4,
        ),
        Reader("omniglot zip", "a.zip", [drawings], try_omniglot, zipped(formats.png)),
        Reader("celeba zip", "a.zip", [faces], try_celeba, zipped(scramble), weight=0.4),
        Reader(
            "celeba partition",
            "list.txt",
            [b"000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n000004.jpg 0\n"],
            try_partition,
            lines(scramble),
        ),
        Reader("cifar10 tar", "a.tar.gz", [cifar], try_cifar, gzipped(tarred(scramble))),
        Reader("amat", "a.amat", [amat], try_amat, lines(scramble)),
    ]


def text_readers() -> list[Reader]:
    """Readers of text and of words."""
    text = b"the cat sat on the mat\n" + b"".join(f"ein größeres Wort {i} \n".encode() for i in range(15))
    member = "simple-examples/data/ptb.train.txt"
    words = json.dumps({"schema": "multirate.vocabulary/1", "words": ["<pad>", "<unk>", "<s>", "</s>", "a", "b", "é"]})
    archive = tar_file({"simple-examples/README": b"x", f"./{member}": text})
    return [
        Reader("text", "a.txt", [text, b"\xef\xbb\xbf" + text], try_load, lines(scramble)),
        Reader("text.gz", "a.txt.gz", [gzip.compress(text, mtime=0)], try_load, gzipped(lines(scramble))),
        Reader(
            "text with a vocabulary", "words.json", [words.encode()], _with_words, mutations.json_text, {"a.txt": text}
        ),
        Reader(
            "text in a tar", "a.tgz", [archive], partial(try_documents, member=member), gzipped(tarred(lines(scramble)))
        ),
        Reader("yahoo text", "a.txt", [b"3\t" + text.replace(b"cat", b"_UNK")], try_documents, lines(scramble)),
        Reader("vocabulary", "a.json", [words.encode()], try_vocabulary, mutations.json_text),
    ]


def _with_words(path: Path) -> None:
    try_load(path.parent / "a.txt", vocabulary=str(path))


def hub_readers() -> list[Reader]:
    """Readers of data sets of the hub that are on disk; none where ``datasets`` is not installed."""
    if find_spec("datasets") is None:
        return []
    beside = {"test.parquet": parquet_file(3)}
    return [Reader("parquet", "train.parquet", [parquet_file(20)], try_hub, scramble, beside, 0.1, import_datasets)]


def record_readers() -> list[Reader]:
    """Readers of curves, records and configurations."""
    curve, other = two_curves()
    curves = [written(curve.save), written(other.save)]
    collapsed = written(collapse(curve).save)
    compared = written(compare(curve, other).save)
    config = config_file()
    history = b"".join(
        json.dumps({"step": i, "epoch": i, "loss": 3.0, "rate": 1.0, "distortion": 2.0, "seconds": 0.1 * i}).encode()
        + b"\n"
        for i in range(1, 6)
    )
    sentences = json.dumps(
        {"points": [{"beta": 0.1, "inputs": ["a"], "reconstructions": ["a"], "samples": ["b"]}]}
    ).encode()
    run = {"curve.json": curves[0], "config.yaml": config, "collapse.json": collapsed, "metrics.jsonl": history}
    many, _ = two_models()
    model = {f"model/{name}": content for name, content in many.items()}
    options = b"epochs: 3\nlearning_rate: 0.001\nhidden: [16, 16]\nmodel: mlp\nlatents: 4\n"
    pairs = [b"3", b"tanh", b"[8, 8]", b"{a: 1}", b"2001-01-01", b"1.5e-3", b"null", b"true"]
    return [
        Reader("curve", "curve.json", curves, try_curve, mutations.json_text, weight=2.5),
        Reader("collapse", "collapse.json", [collapsed], try_collapse, mutations.json_text),
        Reader("comparison", "comparison.json", [compared], try_comparison, mutations.json_text),
        Reader("report's curve", "curve.json", [curves[0]], try_report, mutations.json_text, run, weight=0.3),
        Reader("report's config", "config.yaml", [config], try_report, mutations.yaml_text, run, weight=0.15),
        Reader("report's collapse", "collapse.json", [collapsed], try_report, mutations.json_text, run, weight=0.15),
        Reader(
            "report's history", "metrics.jsonl", [history], try_report, lines(mutations.json_text), run, weight=0.25
        ),
        Reader("report's sentences", "sentences.json", [sentences], try_report, mutations.json_text, run, weight=0.25),
        Reader("report's comparison", "comparison.json", [compared], try_report, mutations.json_text, run, weight=0.15),
        Reader("options", "options.yaml", [options, config], try_config, mutations.yaml_text, weight=1),
        Reader("run's config", "config.yaml", [config], try_run, mutations.yaml_text, {**run, **model}, weight=0.6),
        Reader("config to resume", "config.yaml", [config], try_same, mutations.yaml_text, weight=0.3),
        Reader("option of a loader", "value.yaml", pairs, try_pairs, mutations.yaml_text),
        Reader("metrics to resume", "metrics.jsonl", [history], try_metrics, lines(mutations.json_text)),
        Reader("times", "metrics.jsonl", [history], try_times, lines(mutations.json_text)),
        Reader(
            "download's note",
            "x.part.json",
            [b'{"url": "https://a", "size": 3, "validator": "x"}'],
            try_note,
            mutations.json_text,
        ),
    ]


def model_readers() -> list[Reader]:
    """Readers of models, weights and checkpoints, and of the explorer's runtime."""
    many, plain = two_models()
    state: dict[str, Tensor] = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    step = {
        "step": 3,
        "model": state,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "lr": 0.1},
        "rng": [1, 2],
    }
    package = tar_file({"package/dist/ort.mjs": SCRIPT, "package/package.json": b"{}"})
    files: list[Reader] = []
    for title, model in (("multi-rate", many), ("plain", plain)):
        description, tensors = model["model.json"], model["model.safetensors"]
        files += [
            Reader(
                f"{title} model's description", "model.json", [description], try_model, mutations.json_text, model, 0.8
            ),
            Reader(
                f"{title} model's tensors", "model.safetensors", [tensors], try_model, formats.safetensors, model, 0.5
            ),
        ]
    return [
        *files,
        Reader(
            "model to start from",
            "model.json",
            [plain["model.json"]],
            try_start,
            mutations.json_text,
            plain,
            weight=0.5,
        ),
        Reader(
            "weights safetensors", "w.safetensors", [safetensors.torch.save(state)], try_weights, formats.safetensors
        ),
        Reader(
            "weights pt",
            "w.pt",
            [torch_file(state), torch_file({"state_dict": state})],
            try_weights,
            zipped(scramble),
            weight=0.7,
        ),
        Reader("feature weights", "w.pth", [torch_file(state)], try_features, zipped(scramble), weight=0.5),
        Reader("checkpoint", "step-000000003.pt", [torch_file(step)], try_checkpoint, zipped(scramble), weight=0.7),
        Reader("explorer's runtime", "ort.tgz", [package], try_runtime, gzipped(tarred(scramble))),
    ]


def readers() -> list[Reader]:
    """Return every reader."""
    return list(itertools.chain.from_iterable(part() for part in _PARTS))


_PARTS = (array_readers, image_readers, text_readers, hub_readers, record_readers, model_readers)
