"""When a schedule is due: the *ticks* of a cron expression in a time zone, or of an interval.

A tick is a moment in seconds since the epoch. The clock of a zone is changed twice a year, so that a time of day may not
exist, or exist twice. For those the rules of Debian's cron apply, which `cronsim` implements:

* An expression whose minute and hour are given (`30 2 * * *`) means a time of day. It has one tick a day. If the time
  does not exist on a day, the tick is the first minute after the gap; if it exists twice, the tick is the first of them.
* An expression whose minute or hour begins with `*` (`*/15 * * * *`) means a pace. It has a tick at each moment whose
  time of day fits: none in a gap, and one in each of two equal hours.

An interval counts seconds, whatever the clock shows.
"""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from typing import Protocol

from .._core.errors import DefinitionError, OptionError, UsageError

#: Times that a schedule can have: `datetime` knows no others. In seconds since the epoch, with a year to both sides.
EARLIEST, LATEST = -62_000_000_000.0, 253_000_000_000.0


class Ticks(Protocol):
    """All the moments at which a schedule is due."""

    def after(self, moment: float) -> Iterator[float]:
        """The ticks later than a moment, in seconds since the epoch, in their order."""
        ...


class Interval:
    """A tick at `anchor`, and then one every `every` seconds."""

    def __init__(self, every: float, anchor: float) -> None:
        self.every, self.anchor = every, anchor

    def after(self, moment: float) -> Iterator[float]:
        """See `Ticks.after`."""
        number = max(0, math.floor((moment - self.anchor) / self.every))
        while True:
            # Multiplied and rounded, so that every process gets the same number for the same tick.
            tick = round(self.anchor + number * self.every, 6)
            if tick > moment:
                yield tick
            number += 1


class Cron:
    """The ticks of a cron expression with five fields, in a time zone."""

    def __init__(self, expression: str, zone: str, where: str = "cron") -> None:
        """Raises `DefinitionError` for an expression or a zone that is not valid, and `UsageError` if `cronsim` is not
        installed."""
        self.expression = expression
        self.zone = time_zone(zone, where)
        if len(expression.split()) != 5:
            raise DefinitionError(
                f"{where}: cron={expression!r} must have five fields: minute, hour, day of the month, month, day of the "
                "week; for a pace in seconds use every="
            )
        moments = self._moments(datetime(2000, 1, 1, tzinfo=self.zone), where)
        if next(moments, None) is None:
            raise DefinitionError(f"{where}: cron={expression!r} is never due")

    def after(self, moment: float) -> Iterator[float]:
        """See `Ticks.after`. Ends if no tick comes within fifty years."""
        start = datetime.fromtimestamp(math.floor(moment), self.zone)
        last = moment
        for found in self._moments(start, "cron"):
            # In an hour that exists twice the library may step back to the first one, and a gap may move two ticks to
            # the same moment.
            if (tick := found.timestamp()) > last:
                yield tick
                last = tick

    def _moments(self, start: datetime, where: str) -> Iterator[datetime]:
        try:
            from cronsim import CronSim, CronSimError
        except ImportError as missing:
            raise UsageError(
                f"{where}: cron= needs a package that is not installed: pip install 'triggerflow-engine[schedules]'"
            ) from missing
        try:
            yield from CronSim(self.expression, start)
        except CronSimError as error:
            raise DefinitionError(f"{where}: cron={self.expression!r} is not valid: {error}") from error


def time_zone(name: str, where: str) -> tzinfo:
    """The zone of that name, such as "Europe/Berlin". Raises `DefinitionError` if the machine does not know it."""
    if name == "UTC":  # known without a time zone database
        return UTC
    from zoneinfo import ZoneInfo  # a machine without schedules does not need it

    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        raise DefinitionError(
            f"{where}: this machine knows no time zone {name!r}; use a name such as 'Europe/Berlin' or 'UTC'. If it is "
            "one, install the time zones: pip install tzdata"
        ) from error


def in_utc(moment: float) -> str:
    """A moment as text, such as "2026-03-29T01:00:00Z"; with a fraction of a second if it has one."""
    text = datetime.fromtimestamp(moment, UTC).replace(tzinfo=None).isoformat()
    return f"{text.rstrip('0') if '.' in text else text}Z"


def in_seconds(moment: object, where: str, name: str) -> float:
    """A moment in seconds since the epoch; given as that, or as a datetime with a time zone."""
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise OptionError(f"{where}: {name} needs a time zone: datetime(..., tzinfo=ZoneInfo('Europe/Berlin'))")
        return moment.timestamp()
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        raise OptionError(f"{where}: {name} must be a datetime, or seconds since the epoch; got {moment!r}")
    if not EARLIEST < moment < LATEST:  # not a number, too
        raise DefinitionError(f"{where}: {name}={moment!r} is no time; it is in seconds since the epoch")
    return float(moment)
