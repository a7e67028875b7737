import pytest

from multirate.errors import ConversionError, DataError, MultirateError, UsageError


@pytest.mark.parametrize("kind", [MultirateError, UsageError, DataError, ConversionError])
def test_an_error_is_one_printable_line_whatever_was_put_into_it(kind):
    assert str(kind("no file a.npz; check the path")) == "no file a.npz; check the path"
    assert str(kind("several\n  lines\n- of text")) == "several lines - of text"
    assert str(kind("a\x1b[31mb\x00c\ud800d\u202ee é β")) == "a\\x1b[31mb\\x00c\\ud800d\\u202ee é β"
    long = str(kind("begin " + "x" * 100_000 + " end"))
    assert len(long) < 1300
    assert long.startswith("begin x")
    assert long.endswith("x end")
    assert str(kind()) == ""
