"""What an execution is created and started with."""

from typing import Any

from ._core.errors import DefinitionError
from ._core.events import RULES


class Options:
    """What an execution was created with. One object serves all executions that were created alike."""

    __slots__ = (
        "attended",
        "concurrency",
        "deadline",
        "journal_limit",
        "keep_open",
        "leases",
        "max_pending",
        "skip_exceptions",
        "stream_history",
    )

    def __init__(
        self,
        *,
        concurrency: int | None = None,
        skip_exceptions: bool = False,
        max_pending: int = 1024,
        stream_history: int = 4096,
        journal_limit: int = 1024,
        deadline: float = 5.0,
        attended: bool = True,
        leases: bool = False,
        keep_open: bool = False,
    ) -> None:
        for name, value, least in (
            ("max_pending", max_pending, 1),
            ("stream_history", stream_history, 1),
            ("journal_limit", journal_limit, 1),
            ("deadline", deadline, 0),
        ):
            kinds: Any = int | float if name == "deadline" else int
            if not isinstance(value, kinds) or isinstance(value, bool) or value < least:
                raise DefinitionError(f"create_execution: {name} must be a number from {least} on, got {value!r}")
        # Plain ones, for they go into records: the core asks no value of another class whether it is true, or less.
        self.concurrency = None if concurrency is None else int(concurrency)
        self.skip_exceptions = bool(skip_exceptions)
        self.max_pending = int(max_pending)
        self.stream_history = stream_history
        self.journal_limit = journal_limit
        self.deadline = deadline
        self.attended = bool(attended)
        self.leases = bool(leases)
        self.keep_open = bool(keep_open)

    def course(self) -> tuple[bool, int | None, bool, int, bool, bool, int]:
        """What changes the course of the execution, in the order in which its first record takes it."""
        return (
            self.attended, self.concurrency, self.skip_exceptions, self.max_pending, self.leases, self.keep_open, RULES
        )  # fmt: skip


def same_value(one: Any, other: Any) -> bool:
    """Whether two start values are one: identity, or an equality that answers."""
    try:
        return one is other or bool(one == other)
    except Exception:  # a foreign __eq__ (an array's, say) may refuse to answer
        return False
