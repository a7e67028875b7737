"""Errors that a user can act on: one line that names the value and the remedy."""

_LONGEST = 1200


class MultirateError(Exception):
    """Base of every error that multirate raises on purpose; the command line exits with 1.

    As text it is one printable line, whatever names and values a file put into it: what cannot be printed is escaped,
    and the middle of what is very long is left out.
    """

    def __str__(self) -> str:
        """Return the message."""
        text = " ".join(super().__str__().split())
        if len(text) > _LONGEST:
            text = f"{text[: _LONGEST // 2]} [...] {text[-_LONGEST // 2 :]}"
        return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class UsageError(MultirateError, ValueError):
    """An argument cannot be right whatever the data: unknown name, bad value; the command line exits with 2."""


class BetaError(UsageError):
    """A beta that is missing, not positive, not finite, of the wrong length or outside the range."""


class ConversionError(UsageError):
    """A module that cannot become multi-rate as asked."""


class DataError(MultirateError):
    """A file or an array that is missing, truncated, non-finite, of the wrong shape or fails its checksum."""


class TrainingError(MultirateError):
    """A run that cannot go on: non-finite loss, a checkpoint that does not fit."""


class DivergenceError(TrainingError):
    """A loss, a weight or a measured term that is not finite: the same training would come to the same again."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, where it is handled like Ctrl-C; the command line exits with 143."""
