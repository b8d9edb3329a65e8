"""Errors for a person at a terminal: one line that says what, where and what to do next, and an exit code."""

import os
from collections.abc import Iterable
from difflib import get_close_matches

#: The exit codes of the command; see docs/guide/command-line.md.
DONE, FAILED, USAGE, NOT_FOUND, NOT_NOW, WAITING, UNREACHABLE, BUG, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 70, 130


class Trouble(Exception):
    """Ends a verb with an error message of one line and an exit code."""

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.code = code


def shows_traces() -> bool:
    """Whether errors are shown with their traceback: with --debug, or if TRIGGERFLOW_DEBUG is set."""
    return bool(os.environ.get("TRIGGERFLOW_DEBUG"))


def meant(name: str, known: Iterable[str]) -> str:
    """ "; did you mean 'this'?" if a wrong name resembles a known one, else "; there are: " and up to eight names."""
    names = list(dict.fromkeys(known))
    near = get_close_matches(name, names, 1) or [it for it in names if it.lower() == name.lower()]
    if near:
        return f"; did you mean {near[0]!r}?"
    if not names:
        return ""
    more = " ..." if len(names) > 8 else ""
    return f"; there are: {', '.join(names[:8])}{more}"


def explained(error: BaseException) -> tuple[int, str]:
    """The exit code and the message of one line for an error that a verb has raised."""
    if isinstance(error, Trouble):
        return error.code, str(error)
    from .. import errors
    from ..backend import BadRequest, UnknownFlow
    from ..wire import NotAllowed

    line = str(error) or type(error).__name__
    if isinstance(error, NotAllowed):
        return UNREACHABLE, f"{line}; the token comes from TRIGGERFLOW_TOKEN, or --token-file FILE"
    kinds: list[tuple[int, tuple[type[BaseException], ...]]] = [
        (NOT_FOUND, (UnknownFlow, errors.UnknownExecution, errors.UnknownInterrupt, errors.UnknownSchedule)),
        (USAGE, (BadRequest, errors.ContractError, errors.PayloadError, errors.DefinitionError)),
        (NOT_NOW, (errors.StoreConflict, errors.RecordsTrimmed)),
        (UNREACHABLE, (errors.StoreError,)),
        (NOT_NOW, (errors.TriggerFlowError, TimeoutError)),
        (NOT_FOUND, (FileNotFoundError,)),
    ]
    for code, classes in kinds:
        if isinstance(error, classes) and not isinstance(error, errors.InternalError):
            return code, line
    if isinstance(error, OSError):
        return NOT_NOW, line
    return BUG, f"{type(error).__name__}: {line}; this should not happen: run it again with --debug to see where"
