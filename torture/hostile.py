"""Files made by hand to do harm, by the name of their reader: bombs, lies about sizes, code, double meanings."""

import gzip
import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
import yaml

from torture.valid import config_file, npy_file, saved, torch_file, two_curves, two_models, zip_file

_BOMB = 1 << 27
_PIECE = 1 << 22


class _Code:
    """Runs a command where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, ("touch ../outside/made",)


def _deflated(head: bytes, unit: bytes, count: int) -> bytes:
    """Deflate ``head`` and ``count`` times ``unit``, which is packed once."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    begin = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(unit) + packer.flush(zlib.Z_FULL_FLUSH)
    return begin + block * count + packer.flush()


def _zlib_bomb(unit: bytes, count: int) -> bytes:
    check = 1
    for _ in range(count):
        check = zlib.adler32(unit, check)
    return b"\x78\xda" + _deflated(b"", unit, count) + struct.pack(">I", check)


@cache
def _gzip_bomb(head: bytes, unit: bytes) -> bytes:
    piece = unit * (_PIECE // len(unit))
    count = _BOMB // len(piece)
    check = zlib.crc32(head)
    for _ in range(count):
        check = zlib.crc32(piece, check)
    length = (len(head) + count * len(piece)) % (1 << 32)
    begin = b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"
    return begin + _deflated(head, piece, count) + struct.pack("<II", check, length)


def _zip_bomb(name: str, head: bytes, size: int = _BOMB) -> bytes:
    def save(buffer: io.BytesIO) -> None:
        with (
            zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open(name, "w") as member,
        ):
            member.write(head)
            for _ in range(size >> 22):
                member.write(bytes(1 << 22))

    return saved(save)


def _tar_bomb(name: str, *, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = _BOMB, kind
    return _gzip_bomb(info.tobuf(), bytes(512))


def _tar_links(name: str) -> list[bytes]:
    files = []
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.devmajor, info.devminor = kind, "/etc/hostname", 1, 5
        files.append(gzip.compress(info.tobuf() + bytes(1024), mtime=0))
    return files


def _npy_header(shape: str, kind: str = "'|u1'") -> bytes:
    text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _png(width: int, height: int, depth: int, colour: int) -> bytes:
    row = 1 + (width * depth * {0: 1, 2: 3, 3: 1, 6: 4}[colour] + 7) // 8
    rows = max(1, min(height, 2 * _BOMB // row))
    body = _zlib_bomb(bytes(row * max(1, min(rows, _PIECE // row))), max(1, rows // max(1, _PIECE // row)))
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


def _safetensors(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def _arrays() -> dict[str, list[bytes]]:
    objects = np.array([_Code()] * 12, dtype=object)
    shapes = (
        "(99999999999999,)",
        "(10, 99999999999)",
        "(2, -1)",
        "(9223372036854775807, 2)",
        "(0, 5)",
        "(5, 0)",
        "()",
        "(3,)",
    )
    lies = [_npy_header(shape) + bytes(100) for shape in shapes]
    lies += [
        _npy_header("(12, 5)", kind) + bytes(960)
        for kind in ("'<f8'", "'<f2'", "'<c16'", "'<M8[s]'", "[('a', '<f4')]", "'|O'")
    ]
    lies += [_npy_header("(12, 5)", "'<f4'") + np.full(60, value, "<f4").tobytes() for value in (np.nan, np.inf, 3e38)]
    lies += [_npy_header("(12, 5)", "'<f8'") + np.full(60, 1e300).tobytes(), _npy_header("(" * 200 + ")" * 200)]
    pickled = saved(lambda buffer: np.save(buffer, objects, allow_pickle=True))
    zeros = _zlib_bomb(bytes(_PIECE), _BOMB // _PIECE)
    strange = {
        "expanded": torch.ones(1).expand(10**6, 10**6),
        "meta": torch.empty(10**6, 10**6, device="meta"),
        "sparse": torch.sparse_coo_tensor(
            torch.tensor([[0], [0]]), torch.ones(1), (10**6, 10**6), check_invariants=False
        ),
        "complex": torch.ones(12, 3, dtype=torch.complex64),
        "nan": torch.full((12, 3), torch.nan),
        "eight": torch.ones(12, 3).to(torch.float8_e4m3fn),
    }
    tensors = [torch_file({"x": value}) for value in strange.values()]
    code = [
        zip_file({"archive/data.pkl": b"cos\nsystem\n(S'touch ../outside/made'\ntR.", "archive/version": b"3\n"}, 0)
    ]
    code += [saved(lambda buffer: torch.save({"x": torch.ones(2), "y": _Code()}, buffer))]
    code += [b"cos\nsystem\n(S'touch ../outside/made'\ntR."]
    code += [saved(lambda buffer: torch.save({"x": torch.ones(20, 2)}, buffer, _use_new_zipfile_serialization=False))]
    huge = {"x": {"dtype": "F32", "shape": [1 << 40, 1 << 20], "data_offsets": [0, 1 << 62]}}
    again = b'{"x":{"dtype":"U8","shape":[4,4],"data_offsets":[0,16]},'
    again += b'"x":{"dtype":"U8","shape":[16,1],"data_offsets":[0,16]}}'
    return {
        "idx": [bytes((0, 0, 8, 3)) + struct.pack(">III", 1 << 26, 4, 4), bytes((0, 0, 8, 3)) + b"\xff" * 12],
        "idx.gz": [
            _gzip_bomb(bytes((0, 0, 8, 3)) + struct.pack(">III", 1 << 26, 4, 4), bytes(512)),
            _gzip_bomb(b"", bytes(512)),
        ],
        "npy": [*lies, pickled],
        "npy, mapped": [*lies, pickled],
        "npz": [
            _zip_bomb("x.npy", _npy_header(f"({_BOMB}, 1)")),
            _zip_bomb("x.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\x0f"),
            zip_file({"x.npy": pickled}),
            zip_file({"x.npy": pickled, "y.npy": npy_file(np.ones((12, 2)))}),
            zip_file({"../../outside/made.npy": npy_file(np.ones((12, 2)))}),
            *(zip_file({"x.npy": lie}) for lie in lies),
        ],
        "safetensors": [
            *(_safetensors(h) for h in (huge, b"[" * 5000, b"{" * 5000, b"\xff\xfe")),
            _safetensors(again, bytes(16)),
            struct.pack("<Q", (1 << 63) - 1),
            struct.pack("<Q", 1 << 27) + b"{",
        ],
        "pt": [*tensors, *code, _zip_bomb("archive/data/0", b"")],
        "mat": [b"x".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(zeros)) + zeros],
        "dsprites npz": [
            _zip_bomb("latents_classes.npy", _npy_header("(3, 6)", "'<i8'")),
            zip_file({"imgs.npy": pickled}),
        ],
        "weights pt": [*tensors, *code, _zip_bomb("archive/data.pkl", b"")],
        "weights safetensors": [_safetensors(huge), _safetensors(again, bytes(16))],
        "feature weights": [*tensors, *code],
        "checkpoint": [torch_file({"step": 3, **strange}), *code],
    }


def _images() -> dict[str, list[bytes]]:
    large = [_png(8192, 8192, 8, 2), _png(8192, 8192, 1, 0), _png(8192, 8192, 8, 6), _png(4000, 16000, 8, 3)]
    huge = [_png(60000, 60000, 1, 0), _png((1 << 31) - 1, 1, 1, 0), _png(1, 1 << 30, 1, 0)]
    members = [{f"{i}.png": image for i in range(10)} for image in (large[1], huge[0])]
    names = [
        "../../outside/made.png",
        "/made.png",
        "C:\\made.png",
        "train/../../outside/made.png",
        "a\0.png",
        "\x1b[31m.png",
        "\ud800.png",
    ]
    odd = [zip_file({name.encode("utf-8", "replace").decode(): b"no image"}) for name in names]
    cifar = "cifar-10-batches-bin/data_batch_1.bin"
    return {
        "png": [*large, *huge],
        "zip of images": [*(zip_file(member) for member in members), *odd, _zip_bomb("a.png", b"")],
        "zip of images, mapped": [zip_file({f"{i}.png": _png(3000, 3000, 1, 0) for i in range(10)}), *odd],
        "omniglot zip": [zip_file({f"images_background/G/character01/0{i}_01.png": huge[0] for i in (1, 2)})],
        "celeba zip": [zip_file({f"img_align_celeba/{i:06}.jpg": large[0] for i in (1, 2)})],
        "cifar10 tar": [
            _tar_bomb(cifar),
            _tar_bomb("other"),
            _tar_bomb("x", kind=b"x"),
            _gzip_bomb(b"", bytes(512)),
            *_tar_links(cifar),
        ],
        "celeba partition": [b"000001.jpg 0\n" * 50_000],
    }


def _texts() -> dict[str, list[bytes]]:
    member = "simple-examples/data/ptb.train.txt"
    words = [str(i) for i in range(20)]
    specials = ["<pad>", "<unk>", "<s>", "</s>"]
    vocabularies = [
        json.dumps({"schema": "multirate.vocabulary/1", "words": bad}).encode("utf-8", "surrogatepass")
        for bad in (
            [*specials, "a", "a"],
            [*specials, ""],
            [*specials, "\ud800"],
            specials[:3],
            [*specials, 5],
            [*specials, "</s>"],
        )
    ]
    line = " ".join(words).encode()
    return {
        "text": [b"a" * (1 << 23), b"\0" * 100, b"\xff\xfe" + line, line * 20, b"\n" * 5000],
        "text.gz": [_gzip_bomb(b"", b"ab \n"), _gzip_bomb(b"", bytes(512)), _gzip_bomb(b"", b"a ")],
        "text in a tar": [
            _tar_bomb(member),
            _tar_bomb("x", kind=b"L"),
            _tar_bomb("x", kind=b"g"),
            _gzip_bomb(b"", bytes(512)),
            *_tar_links(member),
        ],
        "vocabulary": vocabularies,
        "text with a vocabulary": vocabularies,
    }


def _records() -> dict[str, list[bytes]]:
    curve = json.dumps(two_curves()[0].to_dict()).encode()
    documents = [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        curve.replace(b'"examples": 10', b'"examples": 1' + b"0" * 5000),
        curve.replace(b'"rate": 4', b'"rate": NaN, "x": 4'),
        curve.replace(b'"beta": 0.1', b'"beta": 0.1, "beta": 0.2'),
        curve.replace(b'"beta": 0.1', b'"beta": 1e999'),
        curve.replace(b'"mine"', b'"\\ud800"'),
        curve.replace(b'"mine"', b'"\\u001b[31m\\n"'),
        curve.replace(b'"mine"', b'"' + b"a" * 1_000_000 + b'"'),
        b"\xef\xbb\xbf" + curve,
        curve.decode().encode("utf-16"),
        b" " * (1 << 25) + curve,
        b"[" + b"[]," * (1 << 22) + b"[]]",
    ]
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    merges = "a0: &a0 {x: 1}\n" + "".join(
        f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 9)
    )
    strings = "a: &a " + "x" * 20_000 + "\nb: [" + ", ".join(["*a"] * 5000) + "]\n"
    config = config_file()
    yamls = [
        *(text.encode() for text in (laughs, merges, strings)),
        *(b"a: &a [*a]\n", b"? &a [*a]\n: 1\n", b"[" * 60_000, b"{a: " * 15_000, b"- " * 30_000, b"? " * 30_000),
        *(b"a: !!python/object/apply:os.system ['touch ../outside/made']\n", b"a: !!python/name:os.system\n"),
        *(
            b"a: 1\na: 2\n",
            b"a: " + b"9" * 60_000,
            b"a: 2001-99-99\n",
            b"a: " + b"1:" * 20_000 + b"1\n",
            b"k: v\n" * 12_000,
        ),
        *(
            b"a: '" + b"x\n\n" * 20_000,
            b"a: !!binary " + b"*" * 999,
            b"%YAML 9.9\n---\na: 1\n",
            b"a: 1\n---\nb: 2\n",
            b"\0",
        ),
        config.replace(b"beta: null", b"beta: .nan"),
        config.replace(b"beta: null", b"beta: .inf"),
        config.replace(b"hidden: []", b"hidden: [.nan]"),
        config.replace(b"data: digits", b'data: "\\e[31m\\n"'),
        yaml.safe_dump({"run": {"data": "digits"}, "training": []}).encode(),
    ]
    lines = [
        b'{"step": 1e999}\n',
        b"[" * 100_000,
        b'{"step": 1' + b"0" * 5000 + b"}\n",
        b"\xff\xfe\n",
        b'{"step": true}\n',
    ]
    names = ("curve", "collapse", "comparison", "vocabulary", "prepared record", "download's note", "report's curve")
    settings = ("options", "run's config", "config to resume", "option of a loader", "report's config")
    found = dict.fromkeys(names, documents) | dict.fromkeys(settings, yamls)
    return found | dict.fromkeys(("metrics to resume", "times", "report's history"), lines)


def _models() -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    many, plain = two_models()
    for title, model in (("multi-rate", many), ("plain", plain)):
        description = json.loads(model["model.json"])
        lies = []
        for options in (
            {"hidden": [10**9, 10**9]},
            {"latents": 10**12},
            {"shape": [1, 10**6, 10**6]},
            {"hidden": [1] * 10**5},
        ):
            lies.append(json.dumps(description | {"options": description["options"] | options}).encode())
        for name in ("resnet", "convnet", "nvae", "lstm", "os", "__init__", "linear"):
            lies.append(json.dumps(description | {"model": name}).encode())
        found[f"{title} model's description"] = lies
        (length,) = struct.unpack_from("<Q", model["model.safetensors"])
        head, body = model["model.safetensors"][: 8 + length], model["model.safetensors"][8 + length :]
        found[f"{title} model's tensors"] = [
            head + np.full(len(body) // 4, np.nan, "<f4").tobytes(),
            head.replace(b"F32", b"I32") + body,
            head.replace(b"F32", b"U32") + body,
        ]
    lies = [
        json.dumps(json.loads(plain["model.json"]) | {"extra": {"beta": beta}}).encode()
        for beta in ("1", -1, 0, [1], True)
    ]
    return found | {
        "model to start from": lies,
        "explorer's runtime": [
            _tar_bomb("package/dist/ort.mjs"),
            _gzip_bomb(b"", bytes(512)),
            *_tar_links("package/dist/ort.mjs"),
        ],
    }


@cache
def hostile() -> dict[str, list[bytes]]:
    """Return the files by the name of their reader."""
    found: dict[str, list[bytes]] = {}
    for part in (_arrays(), _images(), _texts(), _records(), _models()):
        for name, files in part.items():
            found.setdefault(name, []).extend(files)
    return found
