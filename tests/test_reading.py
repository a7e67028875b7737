import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirate.errors import DataError
from multirate.files import read_json, write_json
from multirate.reading import DEEPEST, JSON_BYTES, json_lines, open_file, parse_json, read_file

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**63), 2**64 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)

REFUSED = {
    "nested without end": ("[" * 100_000, "deeper"),
    "nested a little too deep": ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "deeper"),
    "NaN": ('{"a": NaN}', "NaN"),
    "infinity": ("[-Infinity]", "-Infinity"),
    "a float that is too large": ("[1e999]", "1e999"),
    "an integer of 5,000 digits": ("1" * 5000, "more than 64 bits"),
    "an integer of 65 bits": (str(2**64), "more than 64 bits"),
    "a key twice": ('{"a": {"rate": 1, "rate": 2}}', "'rate' twice"),
    "half a surrogate pair": ('["\\ud800"]', "surrogates not allowed"),
    "too many lists": ("[" + "[]," * 200_000 + "[]]", "more than 200,000"),
    "nothing": ("", "Expecting value"),
    "two documents": ("{} {}", "Extra data"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_json_that_could_mean_something_else_or_harm_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_json_of_the_deepest_nesting_is_read():
    assert parse_json("[" * DEEPEST + "]" * DEEPEST) == json.loads("[" * DEEPEST + "]" * DEEPEST)


@pytest.mark.slow
@given(VALUES)
def test_json_comes_back_as_it_was_written(value):
    assert parse_json(json.dumps(value)) == value


@given(st.binary(max_size=60) | st.text("[]{}:,\"'0123456789eE.-+ntfaul\\ud\n ", max_size=60).map(str.encode))
def test_any_bytes_are_json_or_a_value_error(content):
    try:
        value = parse_json(content)
    except ValueError:
        return
    assert value == json.loads(content)


def test_a_file_of_json_comes_back_and_one_too_long_is_refused(tmp_path):
    path = write_json(tmp_path / "a.json", {"a": [1, 2.5, "é"]})
    assert read_json(path) == {"a": [1, 2.5, "é"]}
    with path.open("ab") as file:
        file.truncate(JSON_BYTES + 1)
    with pytest.raises(DataError, match="too long, over 16,777,216 bytes"):
        read_json(path)


def make(path, kind):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path.name)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "loop", "missing"])
def test_what_is_no_plain_file_is_refused_at_once(tmp_path, kind):
    make(tmp_path / "a.json", kind)
    with pytest.raises(OSError):
        open_file(tmp_path / "a.json")
    with pytest.raises(DataError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


def test_a_link_to_a_plain_file_is_followed(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").symlink_to("a")
    assert read_file(tmp_path / "b") == b"content"
    assert read_file(tmp_path / "b", 7) == b"content"
    with pytest.raises(OSError, match="too long, over 6 bytes"):
        read_file(tmp_path / "b", 6)


def test_lines_that_are_no_json_come_as_none(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n\xff\n{"a": NaN}\n' + b"[" * 5000 + b'\n{"a": 2}\n{"a":')
    assert list(json_lines(tmp_path / "a.jsonl")) == [{"a": 1}, None, None, None, {"a": 2}, None]
