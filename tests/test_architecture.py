"""The rules of the layout, checked on the source itself."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "multirate"

# From left to right: a module imports only from its own group and from those on its left.
ARROWS = (
    ("errors", "reading", "plain", "torchfile", "yamlfile", "files", "locking", "seeding", "_lazy", "text", "memory"),
    ("beta",),
    ("maps",),
    ("response",),
    ("layers", "rectified"),
    ("latents",),
    ("plan", "saving"),
    ("wrapper",),
    ("convert", "fold"),
    ("terms", "logistic", "theory"),
    ("objectives",),
    ("models",),
    ("loading",),
    ("data",),
    ("training",),
    (
        "inference",
        "sharing",
        "curve",
        "invariants",
        "paired",
        "merging",
        "fairness",
        "comparison",
        "collapse",
        "choosing",
        "metrics",
        "totals",
        "block_noise",
        "evaluate",
        "images",
        "recalibrate",
    ),
    ("report",),
    ("experiments",),
    ("integrations",),
    ("cli",),
)
RANK = {name: rank for rank, group in enumerate(ARROWS) for name in group}

# Tighter than the arrows: what these modules may import of the package.
ONLY = {
    "_lazy": set(),
    "errors": set(),
    "reading": set(),
    "plain": set(),
    "torchfile": {"reading"},
    "yamlfile": {"errors", "reading"},
    "files": {"errors", "reading"},
    "locking": {"errors", "files"},
    "seeding": {"errors"},
    "beta": {"errors"},
    "maps": set(),
    "memory": set(),
    "theory": {"errors", "beta"},
    "text": set(),
    "curve": {"errors", "files", "text"},
    "fairness": {"curve", "text"},
    "invariants": {"curve"},
    "merging": {"errors", "curve", "invariants"},
    "comparison": {"errors", "files", "text", "curve", "invariants", "merging", "fairness", "plain"},
    "collapse": {"errors", "files", "curve", "plain"},
    "choosing": {"errors", "curve", "metrics"},
    "saving": {"errors", "files", "reading"},
}
GATING = {"maps", "response", "layers", "rectified", "latents", "plan", "wrapper", "convert", "fold"}
WITHOUT_GATING = ("terms", "objectives", "models", "data", "theory", "report")
WITHOUT_TORCH = ("report", "curve", "invariants", "merging", "fairness", "comparison", "collapse", "choosing")
LIGHT = {
    *("torch", "numpy", "scipy", "matplotlib", "sklearn", "accelerate", "joblib", "PIL", "safetensors"),
    *("platformdirs", "requests", "urllib3"),
}
LIGHT_MODULES = (
    "multirate",
    "multirate.training.config",
    "multirate.data.names",
    "multirate.models.names",
    "multirate.objectives.names",
    "multirate.experiments.spec",
    *(f"multirate.cli.{path.stem}" for path in sorted((SOURCE / "cli").glob("*.py")) if path.stem != "__init__"),
)
FORBIDDEN_WORDS = r"\b(kld|recon_loss|lmbda|net_inputs|hyper_?params?)\b"
MACHINE = r"/(home|root|tmp|work)/"

FILES = sorted(SOURCE.rglob("*.py"))


def every_file(check: Callable[[Path], None]) -> Callable[[], None]:
    """Make one test of a check of one file, which names every file that breaks the rule."""

    def test() -> None:
        broken = []
        for path in FILES:
            try:
                check(path)
            except AssertionError as error:
                broken.append(f"{path.relative_to(SOURCE)}: {error}")
        assert not broken, "\n".join(broken)

    test.__name__ = check.__name__
    return test


def imported(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, in functions and for type checking too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "multirate")


def group(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def groups_imported(path: Path) -> set[str]:
    names = {name.split(".")[1] for name in imported(path) if name.startswith("multirate.")}
    return names & set(RANK)


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git clone")
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_every_module_has_its_place_in_the_arrows() -> None:
    assert {group(path) for path in FILES} - {"__init__", "__main__"} <= set(RANK)


@every_file
def test_imports_go_down_the_arrows(path: Path) -> None:
    if group(path) in ("__init__", "__main__"):
        return
    later = {name for name in groups_imported(path) if RANK[name] > RANK[group(path)]}
    assert not later


@every_file
def test_low_modules_import_only_what_they_need(path: Path) -> None:
    assert groups_imported(path) - {group(path)} <= ONLY.get(group(path), set(RANK))


@every_file
def test_models_data_and_terms_know_no_gates(path: Path) -> None:
    if group(path) in WITHOUT_GATING:
        assert not groups_imported(path) & GATING


@every_file
def test_curves_and_reports_import_no_torch(path: Path) -> None:
    if group(path) in WITHOUT_TORCH:
        assert not {name.split(".")[0] for name in imported(path)} & {"torch"}


def test_convert_and_fold_do_not_import_each_other() -> None:
    assert "fold" not in groups_imported(SOURCE / "convert.py")
    assert "convert" not in groups_imported(SOURCE / "fold.py")


def test_only_the_command_line_imports_integrations() -> None:
    importers = {group(path) for path in FILES if "integrations" in groups_imported(path)}
    assert importers <= {"cli", "integrations"}


def test_modules_that_help_needs_import_nothing_heavy() -> None:
    code = f"import sys, {', '.join(LIGHT_MODULES)}; print(*sorted({LIGHT!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_importing_the_package_prints_nothing_and_starts_no_thread() -> None:
    code = "import threading, multirate; assert threading.active_count() == 1"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


@pytest.mark.slow
def test_a_public_function_is_not_hidden_by_the_file_of_its_name() -> None:
    code = (
        "import multirate.fold, multirate.plan, multirate.convert, multirate.evaluate, multirate as mr\n"
        "assert all(map(callable, (mr.fold, mr.plan, mr.convert, mr.evaluate)))\n"
        "from multirate.plan import Plan"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_resolves() -> None:
    import multirate

    assert all(getattr(multirate, name) is not None for name in multirate.__all__)
    assert set(multirate.__all__) - {"__version__"} == set(dir(multirate))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = multirate.nothing


@every_file
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node) is not None
            docstring = (node.body[0].end_lineno or 0) - node.body[0].lineno + 1 if documented else 0
            assert (node.end_lineno or 0) - node.lineno + 1 - docstring <= 60, node.name


@every_file
def test_names_are_those_of_the_design(path: Path) -> None:
    if group(path) == "integrations":  # an adapter calls another library by that library's names
        return
    assert not re.findall(FORBIDDEN_WORDS, path.read_text(encoding="utf-8"), re.IGNORECASE)


@every_file
def test_nothing_is_left_unfinished(path: Path) -> None:
    assert not re.findall(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError", path.read_text(encoding="utf-8"))


def test_no_file_names_a_machine() -> None:
    this = Path(__file__).resolve()
    texts = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".cff", ".json", ".html", ".csv", ""}
    named = [
        f"{path.relative_to(ROOT)}: {found.group()}"
        for path in tracked_files()
        if path.suffix in texts and path.resolve() != this
        for found in [re.search(MACHINE, path.read_text(encoding="utf-8", errors="ignore"))]
        if found
    ]
    assert not named
