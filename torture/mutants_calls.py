"""Which functions of a module each test calls."""

import contextlib
import importlib
import sys
import threading
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest


@dataclass
class Calls:
    """What a run of the unchanged module tells.

    Args:
        seconds: of each test, by its id.
        tests: the tests that call a function, by the function's first line.
        everywhere: first lines of functions that run while tests are collected.
        imported: modules from elsewhere that tests import while they run.
        noticed: the tests that have noticed a change in a function already.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    tests: dict[int, set[str]] = field(default_factory=dict)
    everywhere: set[int] = field(default_factory=set)
    imported: list[str] = field(default_factory=list)
    noticed: dict[int | None, set[str]] = field(default_factory=dict)

    def chosen(self, scope: int | None) -> list[str]:
        """Return the tests to try a change with: those that noticed another one there, then the rest, quickest first.

        Args:
            scope: first line of the function that is changed; None for the top of the module.
        """
        every = scope is None or scope in self.everywhere
        return self._ordered(scope, self.seconds if every else self.tests.get(scope or 0, ()))

    def calling(self, scope: int | None) -> list[str]:
        """Return the tests that call a function while they run, in the same order.

        Args:
            scope: as of :meth:`chosen`.
        """
        return self._ordered(scope, self.tests.get(scope or 0, ()))

    def _ordered(self, scope: int | None, names: Iterable[str]) -> list[str]:
        noticed = self.noticed.get(scope, ())
        return sorted(names, key=lambda name: (name not in noticed, self.seconds[name]))

    def note(self, scope: int | None, name: str) -> None:
        """Note which test noticed a change.

        Args:
            scope: as of :meth:`chosen`.
            name: of the test; anything else is left alone.
        """
        if name in self.seconds:
            self.noticed.setdefault(scope, set()).add(name)

    def prepare(self) -> None:
        """Import what tests will import, so that no forked process has to."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in self.imported:
                with contextlib.suppress(Exception):
                    importlib.import_module(name)

    def patience(self, names: list[str]) -> float:
        """Return after how many seconds of processor time tests count as hanging.

        Args:
            names: of the tests.
        """
        return 20 + 5 * sum(self.seconds[name] for name in names)


class Recorder:
    """A plugin of pytest that notes which functions of a file each test calls, and how long the test takes.

    A call while a fixture is set up counts for all tests of that file, since they may share the fixture.

    Args:
        file: the whole path of the source.
        root: folder of the package and its tests.
    """

    def __init__(self, file: str, root: Path) -> None:
        self.root, self.before = root, set[str]()
        self.file, self.current, self.everywhere = file, set[int](), set[int]()
        self.seconds: dict[str, float] = {}
        self.called: dict[str, set[int]] = {}
        self.shared: dict[str, set[int]] = {}
        self.known: dict[CodeType, bool] = {}

    def pytest_collection(self) -> None:
        """Look on while tests are collected."""
        self._watch()

    def pytest_collection_finish(self) -> None:
        """Keep what ran by then."""
        sys.setprofile(None)
        self.everywhere, self.current = self.current, set()
        self.before = set(sys.modules)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Any:
        """Look on while fixtures are set up, and then at the test."""
        self.current = set()
        self._watch()
        yield
        self.shared.setdefault(_file(item.nodeid), set()).update(self.current)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test called and how long it took."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.when == "teardown":
            sys.setprofile(None)
            self.called[report.nodeid] = self.current

    def calls(self) -> Calls:
        """Return what was noted."""
        tests: dict[int, set[str]] = {}
        for name, lines in self.called.items():
            for line in lines | self.shared.get(_file(name), set()):
                tests.setdefault(line, set()).add(name)
        return Calls(self.seconds, tests, self.everywhere, sorted(filter(self._from_elsewhere, sys.modules)))

    def _from_elsewhere(self, name: str) -> bool:
        file = getattr(sys.modules[name], "__file__", None)
        return name not in self.before and file is not None and not Path(file).is_relative_to(self.root)

    def _watch(self) -> None:
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            code = frame.f_code
            if code not in self.known:
                self.known[code] = code.co_filename == self.file and code.co_name != "<module>"
            if self.known[code]:
                self.current.add(code.co_firstlineno)


def _file(name: str) -> str:
    return name.partition("::")[0]
