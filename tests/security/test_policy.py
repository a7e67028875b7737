"""SECURITY.md promises nothing that no test holds, and people find it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
POLICY = ROOT / "SECURITY.md"
HERE = Path(__file__).parent


def rows() -> list[tuple[str, str]]:
    """Return the promises and what holds them."""
    lines = POLICY.read_text(encoding="utf-8").partition("## What is promised")[2].partition("\n## ")[0].splitlines()
    cells = [line.strip("|").split("|") for line in lines if line.startswith("|")][2:]
    return [(promise.strip(), holders.strip()) for promise, holders in cells]


def test_there_are_promises() -> None:
    assert len(rows()) >= 10


@pytest.mark.parametrize(("promise", "holders"), rows(), ids=lambda text: text[:20])
def test_each_promise_names_tests_that_exist(promise: str, holders: str) -> None:
    links = re.findall(r"\[([^\]]+)\]\(([^)]+)\)", holders)
    assert promise and links
    for label, target in links:
        path = ROOT / target
        assert label == target and path.is_file()
        found = "def test_" in path.read_text(encoding="utf-8")
        assert found if target.startswith("tests/") else target.startswith("torture/")


def test_each_test_of_security_holds_a_promise() -> None:
    held = " ".join(holders for _, holders in rows())
    for path in sorted(HERE.glob("test_*.py")):
        assert path.name in held or path == Path(__file__).resolve()


def test_it_says_how_to_report_and_what_is_supported() -> None:
    text = POLICY.read_text(encoding="utf-8")
    for heading in (
        "## Reporting",
        "## What is protected, and from whom",
        "## What is not promised",
        "## Dependencies",
    ):
        assert f"\n{heading}\n" in text
    assert "Report a vulnerability" in text and "**Supported versions.**" in text


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_readers_are_led_to_it(page: str) -> None:
    assert "(SECURITY.md)" in (ROOT / page).read_text(encoding="utf-8")


def test_the_audit_is_a_command_with_exact_versions() -> None:
    rule = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\naudit:")[2].partition("\n\n")[0]
    assert "pip-audit" in rule and "--strict" in rule and "constraints.txt" in rule
    pins = [line for line in (ROOT / "constraints/audit.txt").read_text().splitlines() if not line.startswith("#")]
    assert pins and all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pins)
    assert any(line.startswith(("pip_audit==", "pip-audit==")) for line in pins)
