"""Ways to damage archives, arrays, images and models in the parts of their formats."""

import gzip
import io
import random
import struct
import tarfile
import warnings
import zipfile
import zlib

from torture.mutations import INTEGERS, LARGEST, LONG_INTEGERS, Mutation, json_text, scramble


def gzipped(inner: Mutation) -> Mutation:
    """Damage a gzip file, or what it holds, or the text in its place."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        kind = rng.random()
        if kind < 0.3:
            return scramble(data, rng)
        try:
            content = zlib.decompressobj(31).decompress(data, LARGEST)
        except zlib.error:
            return scramble(data, rng)
        changed = inner(content, rng)
        if kind < 0.35:
            return changed
        if kind < 0.4:
            return gzip.compress(changed, 1, mtime=0) * rng.choice((2, 3))
        return gzip.compress(changed, 1, mtime=0)

    return mutate


def zipped(inner: Mutation) -> Mutation:
    """Damage a zip archive: names, sizes, flags, order, links, and the content of one member."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            return scramble(data, rng)
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = [(info, archive.read(info)) for info in archive.infolist() if info.file_size < LARGEST]
        except Exception:
            return scramble(data, rng)
        return _zip_again(members, inner, rng)

    return mutate


def _zip_again(members: list[tuple[zipfile.ZipInfo, bytes]], inner: Mutation, rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    chosen = rng.randrange(len(members)) if members else -1
    kind = rng.randrange(8)
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")
        for number, (info, original) in enumerate(members):
            content = original
            name, method, attributes = info.filename, info.compress_type, info.external_attr
            if number == chosen:
                if kind == 0:
                    continue
                if kind in (1, 2, 3):
                    content = inner(content, rng)
                if kind == 4:
                    name = rng.choice(
                        ("../../outside/made.png", "/made.png", "a/" * 60 + "x.png", "\n.png", "C:\\x.png", "")
                    )
                if kind == 5:
                    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
                if kind == 6:
                    attributes, content = 0o120777 << 16, b"../outside/sentinel.txt"
                if kind == 7:
                    archive.writestr(name, content[:10])
            fresh = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            fresh.external_attr = attributes
            archive.writestr(fresh, content, compress_type=method, compresslevel=1)
    whole = bytearray(buffer.getvalue())
    if rng.random() < 0.3:
        _alter_directory(whole, rng)
    return bytes(whole)


def _alter_directory(whole: bytearray, rng: random.Random) -> None:
    """Change one field of one header of a zip archive: flags, method, checksum, sizes, offsets."""
    marks = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")
    mark = rng.choice(marks)
    places = [place for place in range(len(whole)) if whole.startswith(mark, place)]
    if places:
        start = rng.choice(places) + rng.choice((6, 8, 10, 16, 18, 20, 22, 24, 26, 28, 42))
        width = rng.choice((2, 4))
        whole[start : start + width] = (rng.choice(INTEGERS) % (1 << 8 * width)).to_bytes(width, "little")


def tarred(inner: Mutation) -> Mutation:
    """Damage a tar archive: kinds, names and sizes of members, links and devices, and the content of one."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.2:
            return scramble(data, rng)
        try:
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                members = [(m, archive.extractfile(m).read() if m.isreg() else b"") for m in archive]  # type: ignore[union-attr]
        except Exception:
            return scramble(data, rng)
        return _tar_again(members, inner, rng)

    return mutate


def _tar_again(members: list[tuple[tarfile.TarInfo, bytes]], inner: Mutation, rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    chosen = rng.randrange(len(members)) if members else -1
    kind = rng.randrange(7)
    with tarfile.open(fileobj=buffer, mode="w", format=rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))) as archive:
        for number, (info, original) in enumerate(members):
            content = original
            if number == chosen:
                if kind == 0:
                    continue
                if kind == 1:
                    content = inner(content, rng)
                if kind == 2:
                    info.name = rng.choice(
                        ("../../outside/made", "/made", "n" * 300, "\udcff", "a\nb", info.name + "/")
                    )
                if kind == 3:
                    info.type = rng.choice(
                        (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"S", b"x", b"g", b"L", b"K", b"\xff")
                    )
                    info.linkname = rng.choice(("../../outside/sentinel.txt", info.name, "/etc/hostname"))
                if kind == 4:
                    info.pax_headers = {"size": rng.choice(("x", "-1", "99999999999", "1e3")), "path": info.name}
                if kind == 5:
                    info.mtime = rng.choice((0, -1, 2**40))
            info.size = len(content)
            try:
                archive.addfile(info, io.BytesIO(content))
            except (ValueError, UnicodeError, OverflowError):
                continue
    whole = bytearray(buffer.getvalue())
    if kind == 6 and len(whole) > 512:
        whole[124:136] = rng.choice(
            (b"77777777777\0", b"-0000000001\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"x" * 12)
        )
        whole[148:156] = b"        "
        whole[148:156] = f"{sum(whole[:512]):06o}\0 ".encode()
    return bytes(whole)


def npy(data: bytes, rng: random.Random) -> bytes:
    """Damage an array file: its header as text of the right length, or its numbers."""
    if not data.startswith(b"\x93NUMPY") or len(data) < 10 or rng.random() < 0.25:
        return scramble(data, rng)
    (length,) = struct.unpack_from("<H", data, 8)
    header, body = data[10 : 10 + length].decode("latin1"), data[10 + length :]
    old, new = rng.choice(_NPY)
    changed = header.replace(old, new, 1) if rng.random() < 0.8 else scramble(header.encode(), rng).decode("latin1")
    if rng.random() < 0.3:
        body = scramble(body, rng)
    encoded = changed.encode("latin1")[:60000]
    return b"\x93NUMPY" + bytes((1, 0)) + struct.pack("<H", len(encoded)) + encoded + body


_NPY = (
    *(("(", "(99999999999, "), ("(", "(-1, "), ("(", "(0, "), ("(", "(10**9, "), ("(", "(1.5, "), ("(", "(True, ")),
    *(
        ("|u1", "|O"),
        ("|u1", "<f8"),
        ("|u1", ">f2"),
        ("|u1", "<c16"),
        ("|u1", "<U9"),
        ("|u1", "<M8[s]"),
        ("|u1", "|V0"),
    ),
    *(("<f4", "|O"), ("<f4", "<f8"), ("<f4", ">f4"), ("<f4", "<c8"), ("<f4", "<f16"), ("<f4", "|b1"), ("<f4", "|S0")),
    *(
        ("False", "True"),
        ("False", "None"),
        ("'shape'", "'form'"),
        ("{", "{" * 300),
        ("'descr': '", "'descr': [('a', '"),
    ),
    *(
        ("(", "(" * 3000),
        ("}", "} " + "#" * 20000),
        ("(", "(9223372036854775807, "),
        ("(", "(4611686018427387904, 4, "),
    ),
)


def safetensors(data: bytes, rng: random.Random) -> bytes:
    """Damage a safetensors file: its header as JSON, the header's length, or the numbers."""
    kind = rng.random()
    if len(data) < 8 or kind < 0.2:
        return scramble(data, rng)
    (length,) = struct.unpack_from("<Q", data)
    header, body = data[8 : 8 + length], data[8 + length :]
    if kind < 0.75:
        header = json_text(header, rng)
    elif kind < 0.9:
        kinds = (b"F64", b"F16", b"BF16", b"I64", b"BOOL", b"U8", b"F8_E5M2", b"F8_E4M3", b"C64", b"F4", b"X", b"F32")
        header = header.replace(b"F32", rng.choice(kinds), rng.choice((1, -1)))
    else:
        body = scramble(body, rng)
    stated = len(header) if rng.random() < 0.9 else rng.choice(LONG_INTEGERS)
    return struct.pack("<Q", stated) + header + body


def png(data: bytes, rng: random.Random) -> bytes:
    """Damage a PNG file in its chunks, with checksums that are right."""
    if not data.startswith(b"\x89PNG") or rng.random() < 0.25:
        return scramble(data, rng)
    chunks, start = [], 8
    while start + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, start)
        chunks.append((data[start + 4 : start + 8], data[start + 8 : start + 8 + length]))
        start += 12 + length
    if not chunks:
        return scramble(data, rng)
    place = rng.randrange(len(chunks))
    kind, content = chunks[place]
    choice = rng.randrange(5)
    if choice == 0 and kind == b"IDAT":
        chunks[place] = kind, zlib.compress(scramble(zlib.decompressobj().decompress(content, LARGEST), rng))
    elif choice <= 1:
        chunks[place] = kind, scramble(content, rng)
    elif choice == 2:
        width, height = (rng.choice((0, 1, 2, 7, 8, 200, 8192, 60000, (1 << 31) - 1)) for _ in range(2))
        depth, colour = rng.choice((1, 2, 4, 8, 16, 3)), rng.choice((0, 2, 3, 4, 6, 5))
        chunks[0] = b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, rng.choice((0, 1)))
    elif choice == 3:
        bomb = b"k\0\0" + zlib.compress(bytes(1 << 18))
        extra = rng.choice(
            (b"zTXt", b"iCCP", b"iTXt", b"tEXt", b"tRNS", b"PLTE", b"acTL", b"fcTL", b"eXIf", b"gAMA", b"pHYs")
        )
        chunks.insert(rng.randrange(1, len(chunks) + 1), (extra, rng.choice((bomb, b"", rng.randbytes(7)))))
    else:
        chunks.insert(place, rng.choice(chunks))
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def mat(data: bytes, rng: random.Random) -> bytes:
    """Damage a MATLAB file: an element's code, length or content, packed again where it was packed."""
    if len(data) < 136 or rng.random() < 0.3:
        return scramble(data, rng)
    head, rest, elements = data[:128], data[128:], []
    while len(rest) >= 8:
        code, size = struct.unpack_from("<II", rest)
        elements.append((code, rest[8 : 8 + size]))
        rest = rest[8 + size + (0 if code == 15 else -size % 8) :]
    place = rng.randrange(len(elements))
    code, content = elements[place]
    try:
        inner = zlib.decompressobj().decompress(content, LARGEST) if code == 15 else content
    except zlib.error:
        inner = content
    changed = scramble(inner, rng)
    if rng.random() < 0.2:
        code = rng.choice((14, 15))
    elements[place] = code, zlib.compress(changed, 1) if code == 15 else changed
    return head + b"".join(
        struct.pack("<II", code, len(content)) + content + (b"" if code == 15 else bytes(-len(content) % 8))
        for code, content in elements
    )
