"""Records out of plain JSON values: every field of the type that its class declares, or an error that names it."""

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def from_plain(kind: type[T], value: Any, name: str = "it") -> T:
    """Make a record of what :func:`dataclasses.asdict` gave, after JSON.

    Args:
        kind: a dataclass whose fields are numbers, text, truth values, literals, tuples, dicts by text, other such
            classes, or one of several of these.
        value: decoded JSON; keys that the class does not know are passed over.
        name: of the value, for errors.

    Returns:
        The record, lists as tuples.

    Raises:
        ValueError: naming the first field that is missing or of another type.
    """
    made: T = _record(kind, value, name)
    return made


def _record(kind: Any, value: Any, name: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is {_short(value)}, not an object")
    hints = get_type_hints(kind)
    found = {}
    for entry in fields(kind):
        if entry.name in value:
            found[entry.name] = _value(hints[entry.name], value[entry.name], entry.name)
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise ValueError(f"{name} has no {entry.name!r}")
    return kind(**found)


def _value(kind: Any, value: Any, name: str) -> Any:
    origin, inside = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _record(kind, value, name)
    if origin in (Union, types.UnionType):
        for one in inside:
            if (one is type(None)) == (value is None):
                return None if value is None else _value(one, value, name)
    elif origin is Literal:
        if value in inside and isinstance(value, str):
            return value
    elif origin is tuple and isinstance(value, list | tuple):
        kinds = [inside[0]] * len(value) if inside[-1] is Ellipsis else list(inside)
        if len(kinds) == len(value):
            return tuple(_value(one, part, name) for one, part in zip(kinds, value, strict=True))
    elif origin is dict and isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _value(inside[1], part, f"{name}.{key}") for key, part in value.items()}
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{name} is a whole number beyond all floating ones") from None
    elif kind in (str, bool, int) and type(value) is kind:
        return value
    raise ValueError(f"{name} is {_short(value)}")


def _short(value: Any) -> str:
    return f"{value!r:.60}"
