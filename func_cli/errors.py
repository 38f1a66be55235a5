"""What the command line itself refuses or fails at, and how every error is shown.

HeadraceError (triggers/errors.py)
├── CommandError           a command failed (exit 1)
└── UsageError             exit 2
    └── MisuseError        arguments, a folder or a file that a command cannot work with

Errors go to stderr as `Error: ...`, followed by `Try: ...` where there is something to type next;
tracebacks are shown with `-v` alone.
"""

import difflib
from collections.abc import Iterable

from headrace.triggers.errors import HeadraceError, UsageError

FAILED = 1
MISUSED = 2


class CommandError(HeadraceError):
    """A command could not do its job.

    Args:
        message: *what failed: expected X, got Y - at place*.
        hint: What to type next, without `Try: `.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class MisuseError(UsageError):
    """A command was given something that it cannot work with.

    Args:
        message: *what failed: expected X, got Y - at place*.
        hint: What to type next, without `Try: `.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def exit_code(error: BaseException) -> int:
    """2 for what the user has to change, 1 for what failed."""
    return MISUSED if isinstance(error, UsageError) else FAILED


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `word` was probably meant to be."""
    options = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), options, n=1, cutoff=0.6)
    return options[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean `x`?)`, or nothing."""
    close = nearest(word, known)
    return f" (did you mean `{close}`?)" if close else ""
