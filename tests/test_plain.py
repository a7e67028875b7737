from dataclasses import asdict, dataclass, field
from typing import Literal

import pytest

from multirate.plain import from_plain


@dataclass(frozen=True)
class Part:
    fate: Literal["lives", "dies"]
    beta: float | None = None


@dataclass(frozen=True)
class Whole:
    label: str
    count: int
    ready: bool
    ends: tuple[float, float]
    parts: tuple[Part, ...]
    gaps: dict[str, tuple[float, ...]] = field(default_factory=dict)


GOOD = {
    "label": "a",
    "count": 3,
    "ready": True,
    "ends": [1, 2.5],
    "parts": [{"fate": "dies", "beta": 1}, {"fate": "lives"}],
    "gaps": {"x": [0.5]},
}
BAD = {
    "no object": ([], "it is \\[\\], not an object"),
    "a missing field": ({k: v for k, v in GOOD.items() if k != "count"}, "it has no 'count'"),
    "a truth value as a count": (GOOD | {"count": True}, "count is True"),
    "a float as a count": (GOOD | {"count": 1.0}, "count is 1.0"),
    "text as a number": (GOOD | {"ends": ["1", 2]}, "ends is '1'"),
    "a number beyond all": (GOOD | {"ends": [10**400, 2]}, "ends is a whole number beyond all floating ones"),
    "three ends": (GOOD | {"ends": [1, 2, 3]}, "ends is"),
    "text as a list": (GOOD | {"parts": "ab"}, "parts is 'ab'"),
    "another word": (GOOD | {"parts": [{"fate": "sleeps"}]}, "fate is 'sleeps'"),
    "a list as a word": (GOOD | {"parts": [{"fate": ["dies"]}]}, "fate is"),
    "a list as beta": (GOOD | {"parts": [{"fate": "dies", "beta": [1]}]}, "beta is"),
    "None as text": (GOOD | {"label": None}, "label is None"),
    "a list of pairs as a dict": (GOOD | {"gaps": [["x", [1]]]}, "gaps is"),
    "a gap of text": (GOOD | {"gaps": {"x": ["1"]}}, r"gaps\.x is '1'"),
}


def test_a_record_comes_back_as_it_was():
    whole = from_plain(Whole, GOOD | {"unknown": 1})
    parts = (Part("dies", 1.0), Part("lives"))
    assert whole == Whole("a", 3, True, (1.0, 2.5), parts, {"x": (0.5,)})
    assert from_plain(Whole, asdict(whole)) == whole


@pytest.mark.parametrize(("value", "message"), BAD.values(), ids=BAD.keys())
def test_a_field_of_another_type_is_named(value, message):
    with pytest.raises(ValueError, match=message):
        from_plain(Whole, value)
