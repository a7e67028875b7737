"""Runs the tests of one module against its mutants, each in a forked process, with torch imported and tests collected.

A mutant is tried with the tests that call the function it is in, quickest first, up to the first that fails. Which
tests those are is recorded beforehand, with the module as it is; a change at the top of a module, in the body of a
class, or in a function that runs while tests are collected is tried with every test of the module. A change in the
body of a function replaces its code where tests are collected already; any other, and one that survives although
collecting tests calls the function, is in place before the module is imported. No file changes.
"""

import gc
import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from torture.mutants_calls import Calls, Recorder
from torture.mutants_forking import forked, quiet
from torture.mutants_making import Mutant

OPTIONS = (
    *("-q", "--assert=plain", "--disable-plugin-autoload", "-p", "_hypothesis_pytestplugin", "--hypothesis-seed=0"),
    *("-p", "no:cacheprovider", "-m", "not slow and not torture", "-k", "not compile"),
)
_PATIENCE = 1800.0


@dataclass(frozen=True)
class Target:
    """A module and its tests.

    Args:
        root: of the copy of the repository.
        module: its name for ``import``.
        path: its source, below ``root``.
        tests: files or folders, below ``root``.
    """

    root: Path
    module: str
    path: str
    tests: Sequence[str]

    @property
    def file(self) -> str:
        """The whole path of the source."""
        return str(self.root / self.path)


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant.

    Args:
        kind: ``killed``, ``survived``, ``timed out`` or ``crashed``.
        by: the test that failed first, or why there was none.
    """

    kind: str
    by: str = ""


def outcomes(target: Target, source: str, mutants: Sequence[Mutant]) -> Iterator[tuple[Mutant, Outcome]]:
    """Yield what becomes of each mutant, those in the bodies of functions first.

    Args:
        target: module and tests.
        source: of the module as it is.
        mutants: of the module.

    Raises:
        RuntimeError: if the tests do not pass on the module as it is.
    """
    gc.collect()
    gc.freeze()
    context = get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    worker = context.Process(target=_serve, args=(receiving, sending, target, source, mutants))
    worker.start()
    sending.close()
    rest = set(range(len(mutants)))
    try:
        calls = receiving.recv()
        if not isinstance(calls, Calls):
            raise RuntimeError(f"the tests of {target.path} do not pass on the module as it is: {calls}")
        while (received := receiving.recv()) is not None:
            place, outcome = received
            rest.discard(place)
            yield mutants[place], outcome
    except EOFError:
        raise RuntimeError(f"the process that collects the tests of {target.path} ended too early") from None
    finally:
        worker.terminate()
        worker.join()
    calls.prepare()
    gc.freeze()
    for place in sorted(rest):
        outcome = _imported(target, mutants[place], calls)
        calls.note(mutants[place].scope, outcome.by)
        yield mutants[place], outcome


def _serve(receiving: Connection, sending: Connection, target: Target, source: str, mutants: Sequence[Mutant]) -> None:
    """Collect tests, see which call what, and try each mutant that replaces the code of a function."""
    receiving.close()  # so that this process ends when nobody listens any more
    recorder, first = Recorder(target.file, target.root), _First()

    def work(items: list[pytest.Item]) -> str:
        functions = _functions(target.file)
        ending = forked(lambda: _run(items, first) or recorder.calls(), _PATIENCE)
        calls = ending.answer
        if isinstance(calls, Calls):
            calls.prepare()
            gc.collect()
            gc.freeze()
            again = _ending(forked(lambda: _run(_chosen(items, calls.chosen(None)), first), _PATIENCE))
            calls = calls if again.kind == "survived" else f"in another order, {again}"
        sending.send(calls if calls is not None else f"no answer, {ending}")
        for place, mutant in enumerate(mutants) if isinstance(calls, Calls) else ():
            if (replaced := _new_code(target.file, mutant, functions)) is None:
                continue
            outcome = _replaced(items, first, mutant, calls, *replaced)
            calls.note(mutant.scope, outcome.by)
            if outcome.kind != "survived" or not {mutant.scope, mutant.function} & calls.everywhere:
                sending.send((place, outcome))
        sending.send(None)
        return ""

    quiet()
    answer = _with_tests(target, source, list(target.tests), work, [recorder, first])
    if answer:
        sending.send(answer)


def _replaced(
    items: list[pytest.Item], first: "_First", mutant: Mutant, calls: Calls, function: FunctionType, code: CodeType
) -> Outcome:
    chosen = calls.calling(mutant.scope)

    def work() -> str:
        function.__code__ = code
        return _run(_chosen(items, chosen), first)

    return _ending(forked(work, calls.patience(chosen))) if chosen else Outcome("survived", "no test calls it")


def _imported(target: Target, mutant: Mutant, calls: Calls) -> Outcome:
    chosen, first = calls.chosen(mutant.scope), _First()
    files = sorted({name.partition("::")[0] for name in chosen})

    def work() -> Any:
        return _with_tests(target, mutant.code, files, lambda items: _run(_chosen(items, chosen), first), [first])

    return _ending(forked(work, calls.patience(chosen))) if chosen else Outcome("survived", "no test calls it")


def _ending(ending: Any) -> Outcome:
    if ending.late:
        return Outcome("timed out")
    if ending.answer is None:
        return Outcome("crashed", f"exit status {ending.status}")
    return Outcome("killed", ending.answer) if ending.answer else Outcome("survived")


def _with_tests(
    target: Target, code: str, tests: list[str], work: Callable[[list[pytest.Item]], str], plugins: list[Any]
) -> str:
    """Import the package with a source for the module, collect tests and work with them; this process ends with it.

    Returns:
        What ``work`` returns, or that tests cannot be collected.
    """
    os.chdir(target.root)
    sys.path[:0] = [str(target.root / "src"), str(target.root)]
    package = target.module.partition(".")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] in (package, "tests")]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Finder(target, code))
    instead = _Instead(work)
    options = [*OPTIONS, f"--basetemp={target.root / 'temporary'}"]
    status = pytest.main([*options, *tests], plugins=[instead, *plugins])
    return f"tests cannot be collected, pytest ends with {status!r}" if instead.answer is None else instead.answer


class _Instead:
    """Does something else with the collected tests than to run them all."""

    def __init__(self, work: Callable[[list[pytest.Item]], str]) -> None:
        self.work, self.answer = work, None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if not session.testsfailed:
            self.answer = self.work(session.items)
        return True


class _First:
    """Remembers the first test that fails."""

    failed = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


def _run(items: list[pytest.Item], first: _First) -> str:
    """Run tests up to the first that fails, and return its name."""
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if first.failed:
            break
    return first.failed


def _chosen(items: list[pytest.Item], names: list[str]) -> list[pytest.Item]:
    by_name = {item.nodeid: item for item in items}
    return [by_name[name] for name in names if name in by_name]


def _functions(file: str) -> dict[int, list[FunctionType]]:
    """Return all functions of a file that are alive, by their first lines."""
    found: dict[int, list[FunctionType]] = {}
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename == file:
            found.setdefault(thing.__code__.co_firstlineno, []).append(thing)
    return found


def _new_code(
    file: str, mutant: Mutant, functions: dict[int, list[FunctionType]]
) -> tuple[FunctionType, CodeType] | None:
    """Return the one function that a mutant changes, and its new code; None unless code can simply be replaced."""
    alive = functions.get(mutant.function or 0, [])
    if len(alive) != 1:
        return None
    old = alive[0].__code__
    codes = [compile(mutant.code, file, "exec")]
    for code in codes:
        codes += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
    new = [code for code in codes if (code.co_firstlineno, code.co_name) == (old.co_firstlineno, old.co_name)]
    fits = len(new) == 1 and new[0].co_freevars == old.co_freevars
    return (alive[0], new[0]) if fits else None


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a text instead of its file."""

    def __init__(self, target: Target, code: str) -> None:
        self.target, self.code = target, code

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != self.target.module:
            return None
        return importlib.util.spec_from_file_location(fullname, self.target.file, loader=self)

    def exec_module(self, module: Any) -> None:
        exec(compile(self.code, self.target.file, "exec"), module.__dict__)  # what the import of its file would do
