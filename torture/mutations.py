"""Ways to damage bytes and documents: blindly, and in their parts, so that damage gets past the outer checks."""

import copy
import json
import random
import zlib
from collections.abc import Callable
from typing import Any, TypeAlias

import yaml

from multirate.yamlfile import parse_yaml

Mutation: TypeAlias = Callable[[bytes, random.Random], bytes]

LARGEST = 1 << 20

INTEGERS = (0, 1, 2, 3, 127, 128, 255, 256, 32767, 65535, 65536, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
LONG_INTEGERS = (*INTEGERS, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_TEXTS = (b"\xff\xfe", b"\0", b"\r\n", b"NaN", b"Infinity", b"-1", b"1e999", b"9" * 5000, b"\xed\xa0\x80", b"[" * 2000)
# Values that a document may hold in a place where others belong.
_VALUES = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**30, 10**400, 0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf")),
    *(
        "",
        "x",
        "\0",
        "\ud800",
        "\n",
        "\x1b[31m",
        "../../outside/made",
        "/",
        "a" * 5000,
        "0.5",
        "2001-99-99",
        "<<",
        "__class__",
    ),
    *([], {}, [[]], [None], {"a": 1}, [1, 2, 3], [[1], [2]], {"": {}}),
)


def scramble(data: bytes, rng: random.Random) -> bytes:
    """Damage bytes blindly: one to four flips, cuts, copies, splices, lengths and odd texts."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        content = _scramble_once(content, rng)
    return bytes(content[:LARGEST])


def _scramble_once(content: bytearray, rng: random.Random) -> bytearray:
    place = rng.randrange(len(content) + 1)
    length = min(rng.choice((1, 1, 2, 4, 8, 16, 64, 256, 4096)), len(content))
    kind = rng.randrange(9)
    if kind == 0 and content:
        content[place - 1] ^= 1 << rng.randrange(8)
    elif kind == 1 and content:
        content[place - 1] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x20, rng.randrange(256)))
    elif kind == 2:
        del content[place:]
    elif kind == 3:
        del content[place : place + length]
    elif kind == 4:
        content[place:place] = content[place : place + length] * rng.choice((1, 2, 30))
    elif kind == 5:
        content[place:place] = rng.randbytes(length)
    elif kind == 6:
        size, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
        number = rng.choice(LONG_INTEGERS if size == 8 else INTEGERS) % (1 << 8 * size)
        content[place : place + size] = number.to_bytes(size, order)
    elif kind == 7:
        content[place:place] = rng.choice(_TEXTS)
    else:
        other = rng.randrange(len(content) + 1)
        content[place : place + length] = content[other : other + length]
    return content


def damaged(mutate: Mutation, data: bytes, rng: random.Random) -> bytes:
    """Damage a file in its format's own parts; blindly if it is past that already."""
    try:
        return mutate(data, rng)
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError, zlib.error):
        return scramble(data, rng)


def json_text(data: bytes, rng: random.Random) -> bytes:
    """Change values, keys and nesting of a JSON document."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return scramble(data, rng)
    text = json.dumps(_changed(tree, rng), indent=rng.choice((None, 1)))
    if rng.random() < 0.1:
        text = text.replace("{", rng.choice(('{"schema": 1, ', '{"points": [], ', '{"a": ' + "[" * 3000)), 1)
    return text.encode("utf-8", "surrogatepass")


def yaml_text(data: bytes, rng: random.Random) -> bytes:
    """Change values, keys and nesting of a YAML document, and put tags, anchors and aliases in."""
    try:
        tree = parse_yaml(data)
    except ValueError:
        return scramble(data, rng)
    try:
        text = yaml.safe_dump(_changed(tree, rng), sort_keys=False)
    except (yaml.YAMLError, ValueError, RecursionError):
        return scramble(data, rng)
    lines = text.split("\n")
    if rng.random() < 0.5:
        place = rng.randrange(len(lines))
        head, colon, _ = lines[place].partition(":")
        lines[place] = f"{head}{colon} {rng.choice(_YAML)}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")[:LARGEST]


_YAML = (
    *(
        "2001-99-99",
        "!!timestamp x",
        "!!int ''",
        "!!bool maybe",
        "!!float x",
        "!!binary '*'",
        "*none",
        "&a [*a]",
        "? [a]",
    ),
    *("!!python/object/apply:os.system ['touch ../outside/made']", "!!set {a, b}", "9" * 5000, "0x" + "f" * 5000),
    *(
        "[" * 2000,
        "{a: " * 300,
        "&a [x, *a]",
        "{<<: {a: 1}}",
        "{<<: 3}",
        ".nan",
        ".inf",
        "1:" * 500 + "1",
        "0b",
        "!!omap [a]",
    ),
    *(
        "!!null x",
        "!!merge x",
        "{=: 1}",
        "'\\ud800'",
        '"\\ud800"',
        "!!pairs {a: 1}",
        "12e03",
        "-.inf",
        "0o7",
        "1_0",
        "\t",
    ),
)


def _changed(tree: Any, rng: random.Random) -> Any:
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 2, 3))):
        tree = _changed_once(tree, rng)
    return tree


def _changed_once(tree: Any, rng: random.Random) -> Any:
    if not isinstance(tree, dict | list) or not tree or rng.random() < 0.02:
        return _value(tree, rng)
    key = rng.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
    if rng.random() < 0.6:
        tree[key] = _changed_once(tree[key], rng)
        return tree
    kind = rng.randrange(4)
    if kind == 0:
        del tree[key]
    elif kind == 1 and isinstance(tree, dict):
        tree[rng.choice(("schema", "", "beta", "\ud800", "new", "self", str(key) + " "))] = tree.pop(key)
    elif kind == 1:
        tree.insert(key, copy.deepcopy(tree[key]))
    elif kind == 2 and isinstance(tree, dict):
        other = rng.choice(list(tree))
        tree[key], tree[other] = tree[other], tree[key]
    else:
        tree[key] = _value(tree[key], rng)
    return tree


def _value(old: Any, rng: random.Random) -> Any:
    if isinstance(old, int | float) and rng.random() < 0.5:
        return rng.choice((-old, old * 1e10, old * 1e-10, old + 1, str(old), [old], 10**400, 10**19))
    return rng.choice(_VALUES)


def lines(inner: Mutation) -> Mutation:
    """Damage one line of a text, or the order and number of its lines."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        parts = data.split(b"\n")
        place = rng.randrange(len(parts))
        kind = rng.randrange(5)
        if kind <= 1:
            parts[place] = inner(parts[place], rng)
        elif kind == 2:
            parts.insert(place, parts[rng.randrange(len(parts))])
        elif kind == 3:
            del parts[place]
        else:
            return scramble(data, rng)
        return b"\n".join(parts)[:LARGEST]

    return mutate
