"""YAML from outside, read into the values that JSON has: no objects, no bombs, nothing said twice."""

import json
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import Node

from multirate.errors import DataError
from multirate.reading import DEEPEST, read_file, reason, refuse_twice

_BYTES = 1 << 15
_CHARACTERS = 1 << 20
_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}


class _Loader(yaml.SafeLoader):
    """YAML's safe loader without dates, sets and bytes, and no deeper than it should be."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError(f"it is nested deeper than {DEEPEST}")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_Loader.yaml_constructors = {
    tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag is None or tag in _TAGS
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag in _TAGS or tag == "tag:yaml.org,2002:merge"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file, as :func:`parse_yaml`.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: if there is none, or :class:`NotADirectoryError`, so that the caller can say what to do.
        DataError: if it cannot be read, or is not such YAML.
    """
    try:
        return parse_yaml(read_file(path, _BYTES))
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path} as YAML: {reason(error)}; mend it, or make it again") from error


def parse_yaml(text: str | bytes) -> Any:
    """Decode YAML into the values that JSON has; nothing in it can make an object, and dates stay text.

    Args:
        text: the document.

    Returns:
        Its value, in which parts that aliases name are shared.

    Raises:
        ValueError: if it is no YAML, not in UTF-8, longer than 32 KiB, nested deeper than 64, longer than a million
            characters with its aliases written out, holds itself, names a key twice, or has a tag of another type.
    """
    if len(text) > _BYTES:
        raise ValueError(f"it is too long, over {_BYTES:,} bytes")
    try:
        loader = _Loader(text if isinstance(text, str) else text.decode("utf-8"))
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _measure(node, {}, frozenset())
            value = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError) as error:  # PyYAML's, of values with tags
        raise ValueError(f"a value does not fit its tag: {error!r:.80}") from error
    json.dumps(value, ensure_ascii=False).encode()
    return value


def _measure(node: Any, known: dict[int, tuple[int, int]], above: frozenset[int]) -> tuple[int, int]:
    """Return the characters and the height of a node with aliases written out; check both, and its keys."""
    if id(node) in above:
        raise ValueError("it holds itself")
    if id(node) not in known:
        size, height = 1, 0
        if isinstance(node.value, list):
            pairs = [pair for pair in node.value if isinstance(pair, tuple)]
            refuse_twice(f"{key.tag.rpartition(':')[2]} {key.value}" for key, _ in pairs if isinstance(key.value, str))
            inside = above | {id(node)}
            for child in [part for pair in pairs for part in pair] if pairs else node.value:
                characters, below = _measure(child, known, inside)
                size, height = size + characters, max(height, below + 1)
                if size > _CHARACTERS or height > DEEPEST:
                    raise ValueError(f"it is nested deeper than {DEEPEST}, or longer than {_CHARACTERS:,} with aliases")
        else:
            size += len(node.value)
        known[id(node)] = size, height
    return known[id(node)]
