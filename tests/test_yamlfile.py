import os

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from multirate.errors import DataError, UsageError
from multirate.experiments.spec import RunSpec, read_pairs
from multirate.yamlfile import parse_yaml, read_yaml

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 9))
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 100))

REFUSED = {
    "a bomb of aliases": (LAUGHS, "with aliases"),
    "a bomb of merged keys": (MERGES, "with aliases"),
    "a long text a thousand times": ("a: &a " + "x" * 20_000 + "\nb: [" + "*a," * 1000 + "]\n", "with aliases"),
    "nesting by aliases": (CHAIN, "deeper"),
    "nesting": ("[" * 2000, "deeper"),
    "what holds itself": ("a: &a [*a]\n", "holds itself"),
    "a key twice": ("beta: 1\nbeta: 2\n", "'str beta' twice"),
    "code": ("a: !!python/object/apply:os.system ['exit 3']\n", "could not determine a constructor"),
    "bytes": ("a: !!binary aGk=\n", "could not determine a constructor"),
    "an integer of 5,000 digits": ("a: " + "9" * 5000, "4300 digits"),
    "a tag on what does not fit": ("a: !!int ''\n", "does not fit its tag"),
    "a truth value that is none": ("a: !!bool maybe\n", "does not fit its tag"),
    "half a surrogate pair": ('a: "\\ud800"\n', "surrogates not allowed"),
    "a list as a key": ("? [a]\n: 1\n", "unhashable key"),
    "no text": (b"\xff\xfe\xff", "can't decode"),
    "two documents": ("a: 1\n---\nb: 2\n", "single document"),
    "too long": ("k: v\n" * 10_000, "too long"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_yaml_that_could_harm_or_mean_something_else_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_yaml(text)


def test_dates_stay_text_and_aliases_are_read():
    assert parse_yaml("a: 2001-99-99\nb: 2001-01-01\n") == {"a": "2001-99-99", "b": "2001-01-01"}
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]\n") == {
        "a": {"x": 1},
        "b": {"x": 1, "y": 2},
        "c": [{"x": 1}, {"x": 1}],
    }
    assert parse_yaml("") is None


PRINTABLE = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), max_size=9)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | PRINTABLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PRINTABLE, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@given(VALUES)
def test_yaml_comes_back_as_it_was_written(value):
    assert parse_yaml(yaml.safe_dump(value)) == value


@given(st.binary(max_size=60) | st.text("[]{}:,\"'0123456789eE.-+ntf!&*<>|?%@`\n ~=_", max_size=60).map(str.encode))
def test_any_bytes_are_yaml_or_a_value_error(content):
    try:
        parse_yaml(content)
    except ValueError:
        return


def test_errors_name_the_file_in_one_line(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("run: [\ntraining: {")
    with pytest.raises(DataError, match=r"config\.yaml as YAML") as caught:
        read_yaml(path)
    assert str(caught.value).isprintable()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="no plain file"):
        read_yaml(path)


@pytest.mark.parametrize("value", ["!!bool maybe", "9" * 5000, "!!timestamp x", "[" * 2000, "&a [*a]"])
def test_an_option_whose_value_is_no_yaml_is_a_usage_error(value):
    with pytest.raises(UsageError, match="value in YAML"):
        read_pairs((f"size={value}",), "a data option")


@pytest.mark.parametrize("beta", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_beta_that_is_no_number_above_zero_is_refused(beta):
    with pytest.raises(UsageError, match="beta must be positive and finite"):
        RunSpec(beta=beta)
