"""Libraries of extras."""

import json

import pytest

from multirate.errors import UsageError
from multirate.integrations.extras import require


def test_an_installed_library_is_returned() -> None:
    assert require("json", extra="anything") is json


def test_a_missing_library_names_the_extra_that_brings_it() -> None:
    with pytest.raises(UsageError, match=r"needs no_such_library, .* pip install 'multirate\[thing\]'"):
        require("no_such_library.part", extra="thing")


def test_a_library_that_lacks_its_own_dependency_says_so_itself(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "half_installed.py").write_text("import no_such_dependency\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        require("half_installed", extra="thing")
