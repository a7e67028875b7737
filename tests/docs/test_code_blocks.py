"""Every Python block of README and docs runs, in order, one namespace a page; every command is one that exists.

``MULTIRATE_REGENERATE=1`` keeps the picture that the quickstart draws.
"""

import importlib
import importlib.util
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.cli.conftest import SMALL
from tests.docs import blocks
from tests.docs.blocks import ROOT, Command, name_of

import multirate as mr
from multirate.cli.main import main, parse
from multirate.cli.names import COMMANDS
from multirate.errors import UsageError

PAGES = blocks.pages()
# What the pages of integrations need beside multirate itself.
MODULES = {
    "docs/integrations/compressai.md": "compressai",
    "docs/integrations/diffusers.md": "diffusers",
    "docs/integrations/lightning.md": "lightning",
    "docs/integrations/onnx.md": "onnxruntime",
    "docs/integrations/pythae.md": "pythae",
    "docs/integrations/scvi.md": "scvi",
}
# Those of them that need nothing else.
BARE = {f"docs/integrations/{name}.md" for name in ("hub", "own-loop", "pretrained")}
# Pages with blocks that one machine cannot run, and how many: they are compiled.
NOT_RUN = {"docs/scaling.md": 1}
FOLDERS = ("src", "tests", "docs", "benchmarks", "results", "examples", "experiments")
# What stands for a name of the reader's own.
MADE = re.compile(r"[*<>{}]|\.\.\.|NAME|MINE|YOUR")
# Words that stand for others in the pages, with something that the parser takes.
PLACEHOLDERS = {"RUN": "runs/mine", "DIR": "runs/mine", "NAME": "fig5", "SCALE": "smoke", "B": "1.0", "X": "1.0"}


def with_python() -> list[Path]:
    return [page for page in PAGES if "\n```python\n" in page.read_text(encoding="utf-8")]


def every_command(*programs: str) -> list[Command]:
    return [command for page in PAGES for command in blocks.commands(page, programs)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh folder with the repository's results, whose numbers pages look at."""
    (tmp_path / "results").symlink_to(ROOT / "results")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    state = torch.get_rng_state()
    yield tmp_path
    torch.set_rng_state(state)


@pytest.mark.slow
@pytest.mark.parametrize("page", with_python(), ids=name_of)
def test_the_blocks_of_a_page_run_in_order(page: Path, folder: Path) -> None:
    module = MODULES.get(name_of(page))
    if module and importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    found, text = blocks.examples(page), page.read_text(encoding="utf-8")
    assert len(found) == text.count("\n```python\n") + text.count("\n<!-- run:\n")
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as in a reader's own Python
        for example in found:
            example.evaluate()
    if os.environ.get("MULTIRATE_REGENERATE") and page.stem == "quickstart":
        shutil.copyfile(folder / "curve.png", ROOT / "docs" / "pictures" / "quickstart.png")


def test_blocks_that_are_not_run_are_few_and_known() -> None:
    found = {name_of(page): len(blocks.NOT_RUN.findall(page.read_text(encoding="utf-8"))) for page in PAGES}
    assert {name: count for name, count in found.items() if count} == NOT_RUN


def test_every_page_of_an_integration_says_what_it_needs() -> None:
    pages = {name_of(path) for path in with_python() if path.parent.name == "integrations"}
    assert pages <= set(MODULES) | BARE


def test_a_hidden_block_runs_and_a_wrong_one_fails(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- run:\nfound = 1\n-->\n\n```python\nfound += 1\n```\n\n```text\nnot python\n```\n")
    examples = blocks.examples(page)
    for example in examples:
        example.evaluate()
    assert examples[0].namespace["found"] == 2
    page.write_text("```python\nassert False\n```\n")
    with pytest.raises(AssertionError):
        blocks.examples(page)[0].evaluate()


def test_commands_are_read_from_fences_and_indented_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "    A=1 multirate data   # comment\n\n```console\n$ multirate train \\\n    --out x\noutput\n```\n"
        "```text\nmultirate no\n```\n```python\n    multirate\n```\n"
    )
    monkeypatch.setattr(blocks, "ROOT", tmp_path)
    found = [command.words for command in blocks.commands(page, ["multirate"])]
    assert found == [("multirate", "data"), ("multirate", "train", "--out", "x")]


def parsed(words: list[str]) -> None:
    """Parse a command as the program does, without running it."""
    if not words or words[0] in ("--help", "--version", "COMMAND"):
        return
    command, *options = words
    assert command in COMMANDS, command
    if "--help" in options:
        return
    parse(importlib.import_module(f"multirate.cli.{command}"), command, options)


def filled(command: Command) -> list[str]:
    """Return a command's words with the reader's own names filled in, and without dots for further options."""
    return [PLACEHOLDERS.get(word, word) for word in command.words if word not in ("...", "…")]


@pytest.mark.parametrize("command", every_command("multirate"), ids=str)
def test_every_command_of_the_pages_is_one_that_multirate_takes(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        parsed(filled(command)[1:])
    except (SystemExit, UsageError) as error:
        if "..." in command.words and "required" in capsys.readouterr().err.lower():
            return
        pytest.fail(f"{command}: {error}: {capsys.readouterr().err}")


def test_inline_commands_and_options_exist(capsys: pytest.CaptureFixture[str]) -> None:
    options = {name: options_of(name, capsys) for name in COMMANDS}
    every = set().union(*options.values())
    wrong = []
    for page in PAGES:
        for line, span in blocks.spans(page):
            words = blocks.split(span)
            if not words or not (words[0] == "multirate" or words[0].startswith("--")):
                continue  # another program, with options of its own
            named = {word.partition("=")[0] for word in words if re.fullmatch(r"--[a-z][a-z-]+(=.*)?", word)}
            known = every
            if len(words) > 1 and words[0] == "multirate" and re.fullmatch(r"[a-z]+", words[1]):
                known = options.get(words[1], set())
                named |= set() if words[1] in COMMANDS else {words[1]}
            if named - known:
                wrong.append(f"{name_of(page)}:{line}: {span}")
    assert not wrong


def options_of(command: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """Return the options that a command's help lists."""
    capsys.readouterr()
    with pytest.raises(SystemExit):
        parse(importlib.import_module(f"multirate.cli.{command}"), command, ["--help"])
    return set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out)) | {"--help"}


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for names, prefix in (("INTEGRATIONS", "test-integration-"), ("TORTURE", "torture-")):
        listed = re.search(rf"^{names} := (.*)$", makefile, re.MULTILINE)
        assert listed is not None
        targets |= {f"{prefix}{name}" for name in listed[1].split()}
    named = [(command, command.words[-1]) for command in every_command("make")]
    for page in PAGES:
        named += [
            (f"{name_of(page)}:{line}", m[1])
            for line, span in blocks.spans(page)
            if (m := re.fullmatch(r"make ([a-z-]+)", span))
        ]
    assert named
    assert not [where for where, target in named if target not in targets]


def named_path(word: str) -> str | None:
    """Return the path in the repository that a word of inline code is, if it looks like one."""
    path = word.rstrip(".,:;").partition("::")[0]
    looks = "/" in path and path.split("/")[0] in FOLDERS and not MADE.search(path)
    return path if looks else None


def test_every_path_that_a_page_names_exists() -> None:
    places = (ROOT, ROOT / "src" / "multirate")
    wrong = [
        f"{name_of(page)}:{line}: {path}"
        for page in PAGES
        for line, span in blocks.spans(page)
        for path in map(named_path, span.split())
        if path and not any((place / path).exists() for place in places)
    ]
    assert not wrong


def test_every_test_that_a_page_names_exists() -> None:
    written = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    known = set(re.findall(r"^def (test_\w+)", written, re.MULTILINE))
    named = [
        (name_of(page), line, span)
        for page in PAGES
        for line, span in blocks.spans(page)
        if re.fullmatch(r"test_\w+", span)
    ]
    assert named
    assert not [where for where in named if where[2] not in known]


@pytest.mark.slow
def test_the_chain_of_commands_in_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each line in order, at small scale.

    Digits for MNIST, a small MLP for the ResNet, two epochs; the rate is one that this curve reaches.
    """
    monkeypatch.chdir(tmp_path)
    done = []
    for command in blocks.commands(ROOT / "README.md", ["multirate"]):
        words = list(command.words[1:])
        if "--model" in words and "resnet" not in words:
            continue  # text and colour images: further examples, parsed above
        if words[0] in ("train", "sweep"):
            words = [words[0], *SMALL, "--epochs", "2", *_without(words[1:], "--data", "--model")]
        elif words[0] == "export":
            pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
        elif words[0] not in ("evaluate", "compare", "choose", "collapse", "report"):
            continue  # explore has tests of its own, in a browser
        if "--rate" in words:
            rates = mr.Curve.load("runs/mnist/curve.json").rates
            words[words.index("--rate") + 1] = f"{rates[[0, -1]].mean():.4f}"
        assert main(words) == 0, f"{words}: {capsys.readouterr().err}"
        done.append(words[0])
    assert done == ["train", "evaluate", "sweep", "compare", "choose", "collapse", "report", "export"]
    assert (tmp_path / "runs/mnist/report.html").exists()
    assert mr.load(tmp_path / "runs/mnist-25-nats") is not None
    assert (tmp_path / "runs/mnist-onnx/decoder.onnx").exists()


def _without(words: list[str], *options: str) -> list[str]:
    """Leave options and their values out."""
    kept = []
    skip = False
    for word in words:
        if not skip and word not in options:
            kept.append(word)
        skip = word in options
    return kept
