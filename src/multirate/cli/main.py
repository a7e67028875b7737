"""Entry point: reads the first word, imports that command's file, and turns errors into one line and an exit code."""

import errno
import importlib
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

from multirate.cli.names import COMMANDS
from multirate.errors import MultirateError, Terminated, UsageError
from multirate.training.interrupt import terminable

EXAMPLES = """\
examples:
  multirate quickstart --out runs/quickstart
  multirate train --data mnist --model resnet --out runs/mnist
  multirate evaluate runs/mnist --betas 20"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: words after the program's name; those of this process by default.

    Returns:
        Exit code: 0, 1 for an error in data or training, 2 for wrong usage, 130 for Ctrl-C, 143 for SIGTERM.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        from multirate import __version__

        print(f"multirate {__version__}")
        return 0
    command, words = words[0], words[1:]
    if command not in COMMANDS:
        near = get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`multirate --help` lists them"
        return _fail(f"no command {command!r}; {hint}", 2)
    return run(command, words)


def usage() -> str:
    """Return the text of ``multirate --help``."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: multirate COMMAND [OPTIONS]",
            "",
            "Train one variational autoencoder, get its whole rate-distortion curve.",
            "",
            "commands:",
            *lines,
            "",
            EXAMPLES,
            "",
            "`multirate COMMAND --help` lists a command's options, with an example.",
        ]
    )


def run(command: str, words: Sequence[str]) -> int:
    """Parse one command's options and run it.

    Args:
        command: one of :data:`multirate.cli.names.COMMANDS`.
        words: its options.

    Returns:
        Exit code.
    """
    module: Any = None
    debug = "--debug" in words
    try:
        with terminable():
            module = importlib.import_module(f"multirate.cli.{command}")
            options = parse(module, command, words)
            with warnings.catch_warnings(), _logged():
                warnings.showwarning = _warn
                module.run(options)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except Terminated as stop:
        return _fail(f"terminated; {_remedy(module, str(stop))}", 143)
    except KeyboardInterrupt as stop:
        return _fail(f"interrupted; {_remedy(module, str(stop))}", 130)
    except MultirateError as error:
        return _fail(str(error), 2 if isinstance(error, UsageError) else 1, debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _fail(_explain(error), 1, debug)
    except Exception as error:
        return _fail(f"{type(error).__name__}: {error} (--debug shows the traceback)", 1, debug)
    return 0


def parse(module: Any, command: str, words: Sequence[str]) -> Any:
    """Turn words into the command's options; prints help or what is wrong, and exits, where there is cause.

    Args:
        module: the command's module, with ``Options`` and, where it reads YAML, ``expand``.
        command: its name.
        words: its options.

    Returns:
        An instance of ``module.Options``.

    Raises:
        UsageError: if a word is empty, most likely a shell variable that was not set.
    """
    import tyro

    expanded = getattr(module, "expand", list)(words)
    for before, word in pairwise(["", *expanded]):
        name, equals, value = word.partition("=")
        if not word or (word.startswith("--") and equals and not value):
            option = name or (before if before.startswith("--") else "an argument")
            raise UsageError(f"{option} is empty; give it a value or leave it out")
    return tyro.cli(
        module.Options,
        prog=f"multirate {command}",
        args=expanded,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
    )


def _remedy(module: Any, stop: str) -> str:
    """Say where training stopped, if it did, and how to go on: the command knows better than what it called."""
    if not hasattr(module, "RESUME"):
        return stop or "run the same command again"
    where = re.match(r"stopped after step \d+ of \d+", stop)
    return f"{where[0]}; {module.RESUME}" if where else str(module.RESUME)


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    print(f"multirate: warning: {' '.join(str(message).split())}", file=sys.stderr)


@contextmanager
def _logged() -> Iterator[None]:
    """Print what the library logs, within a block, as warnings are printed."""
    handler, logger = logging.Handler(logging.WARNING), logging.getLogger("multirate")
    handler.emit = lambda record: _warn(record.getMessage())  # type: ignore[method-assign]  # one line instead of a class
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _explain(error: OSError) -> str:
    where = error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {where} could not be written; free some space and run the same command again"
    return f"{where}: {error.strerror or error}"


def _fail(message: str, code: int, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    print(f"multirate: error: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
