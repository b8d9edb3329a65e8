"""The options of an execution, and the comparison of start values."""

import math
from collections.abc import Mapping
from typing import Any, Literal, cast

from .._core.errors import OptionError
from .._core.events import RULES
from ..build.arguments import flag, positive, seconds, whole

#: What a new execution does whose id is in the store: see `TriggerFlow.async_submit`.
Reuse = Literal["reject", "existing", "new_after_end"]

#: The limits of labels: how many an execution has, and the length of their keys and values.
MAX_LABELS, MAX_LABEL_KEY, MAX_LABEL_VALUE = 64, 128, 1024


class Options:
    """The options of an execution. Executions that were created with the same options share one object."""

    __slots__ = (
        "attended",
        "cleanup_timeout",
        "concurrency",
        "execution_timeout",
        "journal_limit",
        "keep_open",
        "leases",
        "max_losses",
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
        journal_limit: int | None = None,
        cleanup_timeout: float = 5.0,
        attended: bool = True,
        leases: bool = False,
        keep_open: bool = False,
        execution_timeout: float | None = None,
        max_losses: int = 5,
    ) -> None:
        where = "create_execution"
        positive(concurrency, where)
        whole(max_pending, where, "max_pending", 1)
        whole(stream_history, where, "stream_history", 1)
        if journal_limit is not None:
            whole(journal_limit, where, "journal_limit", 1)
        seconds(cleanup_timeout, where, "cleanup_timeout")
        if execution_timeout is not None:
            seconds(execution_timeout, where, "execution_timeout", above=True)
        whole(max_losses, where, "max_losses", 1)
        flag(skip_exceptions, where, "skip_exceptions")
        flag(keep_open, where, "keep_open")
        self.concurrency = concurrency
        self.skip_exceptions = skip_exceptions
        self.max_pending = max_pending
        self.stream_history = stream_history
        self.journal_limit = journal_limit
        self.cleanup_timeout = cleanup_timeout
        self.attended = attended
        self.leases = leases
        self.keep_open = keep_open
        self.max_losses = max_losses
        # Recorded as None, since JSON has no infinity.
        self.execution_timeout = None if execution_timeout == math.inf else execution_timeout

    def to_dict(self) -> dict[str, Any]:
        """All options by name, as a snapshot stores them."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "Options":
        """The options from a `to_dict` of this or an earlier version. Raises `DefinitionError` or `TypeError`."""
        known = {name: saved[name] for name in cls.__slots__ if name in saved}
        if "deadline" in saved:  # earlier versions stored `cleanup_timeout` under this name
            known["cleanup_timeout"] = saved["deadline"]
        return cls(**known)

    def recorded(self) -> tuple[bool, int | None, bool, int, bool, bool, int]:
        """The options that change the course of the execution, in the order of the fields of its first record."""
        return (
            self.attended, self.concurrency, self.skip_exceptions, self.max_pending, self.leases, self.keep_open, RULES
        )  # fmt: skip


#: The options of an execution for which none were given.
DEFAULTS = Options().to_dict()


def check_reuse(reuse: Any, where: str) -> Reuse:
    """The policy for an id that is in the store. Raises `OptionError`."""
    if reuse not in ("reject", "existing", "new_after_end"):
        raise OptionError(f'{where}: reuse is "reject", "existing" or "new_after_end"; got {reuse!r}')
    return reuse


def check_labels(labels: Any, where: str) -> dict[str, str]:
    """A copy of the labels. Raises `OptionError` if they are no strings, or are too many or too long."""
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        raise OptionError(f"{where}: labels must be a mapping of strings to strings; got {labels!r}")
    given = cast("Mapping[Any, Any]", labels)
    if not all(isinstance(text, str) for pair in given.items() for text in pair):
        raise OptionError(f"{where}: the keys and values of labels must be strings")
    checked = {str.__str__(key): str.__str__(value) for key, value in given.items()}
    try:
        "".join((*checked, *checked.values())).encode()
    except UnicodeEncodeError:
        raise OptionError(f"{where}: a key or value of labels contains half of a surrogate pair") from None
    long = any(len(key) > MAX_LABEL_KEY or len(value) > MAX_LABEL_VALUE for key, value in checked.items())
    if long or len(checked) > MAX_LABELS or "" in checked:
        raise OptionError(
            f"{where}: an execution has up to {MAX_LABELS} labels, with a key of 1 to {MAX_LABEL_KEY} characters and a "
            f"value of up to {MAX_LABEL_VALUE}"
        )
    return checked


def same_value(one: Any, other: Any) -> bool:
    """Whether two values are the same object, or compare as equal. False if the comparison raises."""
    try:
        return one is other or bool(one == other)
    except Exception:  # the `__eq__` of a user's class may raise, such as that of an array
        return False
