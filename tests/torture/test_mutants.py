import json
import subprocess
import sys
from pathlib import Path

import pytest
from torture.mutants import Explanations, failures, share
from torture.mutants_making import Mutant, mutants_of

SOURCE = '''"""A module."""

LIMIT: float = 3.0


class Half:
    """Halves numbers."""

    def __init__(self, number: float = 1.0) -> None:
        if number > LIMIT:
            raise ValueError(f"at most {LIMIT + 0.0}, not " + "more")
        self.number = number

    @property
    def value(self) -> float:
        return self.number / 2
'''
TESTS = {
    "all": """
import pytest
from halving.half import Half

def test_three_has_a_half():
    assert Half(3.0).value == 1.5
    assert Half().value == 0.5

def test_four_is_refused():
    with pytest.raises(ValueError):
        Half(3.5)
""",
    "weak": """
from halving.half import Half

def test_there_is_a_value():
    assert Half(2.0).value is not None
""",
}


def changes(source: str) -> set[tuple[str, str]]:
    return {(mutant.before, mutant.after) for mutant in mutants_of(source)}


def test_constants_properties_defaults_and_conditions_are_mutated_and_messages_are_not() -> None:
    assert changes(SOURCE) == {
        ("LIMIT: float = 3.0", "LIMIT: float = None"),
        ("LIMIT: float = 3.0", "LIMIT: float = 4.0"),
        ("def __init__(self, number: float = 1.0) -> None:", "def __init__(self, number: float = 2.0) -> None:"),
        ("if number > LIMIT:", "if number >= LIMIT:"),
        ("self.number = number", "self.number = None"),
        ("return self.number / 2", "return self.number * 2"),
        ("return self.number / 2", "return self.number / 3"),
    }


def test_a_mutant_knows_its_line_and_the_functions_around_it() -> None:
    places = {(m.before, m.line, m.scope, m.function) for m in mutants_of(SOURCE)}

    assert ("LIMIT: float = 3.0", 3, None, None) in places
    assert ("def __init__(self, number: float = 1.0) -> None:", 9, 9, None) in places
    assert ("if number > LIMIT:", 10, 9, 9) in places
    assert ("return self.number / 2", 16, 14, 14) in places


def test_every_mutant_differs_from_the_source_in_what_it_says() -> None:
    for mutant in mutants_of(SOURCE):
        assert SOURCE.splitlines()[mutant.line - 1].strip() == mutant.before
        assert mutant.code.splitlines()[mutant.line - 1].strip() == mutant.after


def run(folder: Path, tests: str) -> dict[str, str]:
    """Try the mutants of the source in a fresh interpreter, as the harness does."""
    (folder / "src" / "halving").mkdir(parents=True)
    (folder / "src" / "halving" / "half.py").write_text(SOURCE)
    (folder / "test_half.py").write_text(tests)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    program = f"""
import json, pathlib
from torture.mutants_making import mutants_of
from torture.mutants_running import Target, outcomes
root = pathlib.Path({str(folder)!r})
target = Target(root, "halving.half", "src/halving/half.py", ["test_half.py"])
source = (root / target.path).read_text()
found = outcomes(target, source, list(mutants_of(source)))
print(json.dumps({{mutant.after: outcome.kind for mutant, outcome in found}}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.splitlines()[-1])
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.torture
def test_good_tests_kill_every_mutant(tmp_path: Path) -> None:
    assert set(run(tmp_path, TESTS["all"]).values()) == {"killed"}


@pytest.mark.torture
def test_what_weak_tests_leave_alive_is_found(tmp_path: Path) -> None:
    kinds = run(tmp_path, TESTS["weak"])

    assert {after for after, kind in kinds.items() if kind == "survived"} == {
        "LIMIT: float = 4.0",
        "def __init__(self, number: float = 2.0) -> None:",
        "if number >= LIMIT:",
        "return self.number * 2",
        "return self.number / 3",
    }
    assert kinds["LIMIT: float = None"] == "killed"
    assert kinds["self.number = None"] == "killed"


@pytest.mark.torture
def test_tests_that_fail_on_the_module_as_it_is_kill_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"do not pass on the module as it is: test_half.py::test_nothing"):
        run(tmp_path, "from halving import half\n\ndef test_nothing():\n    assert half.Half().value == 7\n")


def test_an_explanation_holds_for_the_change_that_it_names_alone(tmp_path: Path) -> None:
    path = tmp_path / "survivors.toml"
    path.write_text(
        '[[survivor]]\nmodules = ["half.py"]\nbefore = "a = 1"\nafter = ["a = 2", "a = None"]\nwhy = "unused"\n'
        "[[survivor]]\npattern = '.*, fast=True.* => .*'\nwhy = \"speed\"\n"
    )
    explanations = Explanations(path)

    def why(module: str, before: str, after: str) -> str | None:
        return explanations.of(module, Mutant(1, before, after, "", None, None))

    assert why("half.py", "a = 1", "a = None") == "unused"
    assert why("half.py", "a = 1", "a = 3") is None
    assert why("other.py", "a = 1", "a = 2") is None
    assert why("other.py", "f(x, fast=True)", "f(x)") == "speed"


def counted(mutants: int, survived: int, unexplained: int) -> dict[str, int]:
    return {"mutants": mutants, "survived": survived, "unexplained": unexplained}


def test_less_than_nine_in_ten_or_a_survivor_without_explanation_is_a_failure() -> None:
    assert failures({"beta.py": counted(100, 10, 0), "dci.py": counted(100, 10, 0)}) == []
    assert failures({"beta.py": counted(100, 11, 0), "dci.py": counted(100, 5, 0)}) == ["beta.py: 89.0% killed"]
    assert failures({"beta.py": counted(10, 0, 0), "dci.py": counted(90, 11, 0)}) == ["all: 89.0% killed"]
    assert failures({"dci.py": counted(100, 3, 1)}) == ["dci.py: 1 survivors unexplained"]
    assert share([counted(40, 1, 0), counted(60, 4, 0)]) == pytest.approx(0.95)
