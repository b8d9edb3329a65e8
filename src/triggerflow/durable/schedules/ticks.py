"""When a schedule is due: the *ticks* of a cron expression in a time zone, or of an interval.

A tick is a moment in seconds since the epoch. The clock of a zone is changed twice a year, so that a time of day may
not exist, or exist twice. For those the rules of Debian's cron apply, here in every zone. `cronsim` reads expressions
and finds the times that fit, on a clock that is never changed; it does not know changes by half an hour.

* An expression whose minute and hour are given (`30 2 * * *`) means a time of day. It has one tick a day. If the time
  does not exist on a day, the tick is the first minute after the gap; if it exists twice, the tick is the first one.
* An expression whose minute or hour begins with `*` (`*/15 * * * *`) means a pace. It has a tick at each moment whose
  time of day fits: none in a gap, and one in each of two equal hours.

An interval counts seconds, whatever the clock shows.
"""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

from ..._core.errors import DefinitionError, OptionError, UsageError

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
        """Raises `DefinitionError` for an unknown zone."""
        self.expression, self.where = expression, where
        self.zone = time_zone(zone, where)

    def check(self) -> None:
        """Raise `DefinitionError` if the expression is not valid, and `UsageError` if `cronsim` is not installed."""
        if len(self.expression.split()) != 5:
            raise DefinitionError(
                f"{self.where}: cron={self.expression!r} must have five fields: minute, hour, day of the month, month, "
                "day of the week; for a pace in seconds use every="
            )
        if next(self._matches(datetime(2000, 1, 1)), None) is None:
            raise DefinitionError(f"{self.where}: cron={self.expression!r} is never due")

    def after(self, moment: float) -> Iterator[float]:
        """See `Ticks.after`. Ends if no tick comes within fifty years."""
        minute, hour, *_ = self.expression.split()
        is_pace = minute.startswith("*") or hour.startswith("*")
        return self._paced(moment) if is_pace else self._times_of_day(moment)

    def _times_of_day(self, moment: float) -> Iterator[float]:
        last = moment
        for shown in self._matches(self._shown(math.floor(moment))):
            while self._shown(tick := shown.replace(tzinfo=self.zone).timestamp()) != shown:
                shown += timedelta(minutes=1)  # the clock jumps over this time: the first one after the gap counts
            if tick > last:  # a gap moves several times to the same tick, and of two equal times the first is past
                yield tick
                last = tick

    def _paced(self, moment: float) -> Iterator[float]:
        begin = math.floor(moment)
        shown = self._shown(begin)
        while True:  # once for each time between two changes of the clock
            offset, change = self._offset(begin), None
            for match in self._matches(shown):
                tick = match.replace(tzinfo=UTC).timestamp() - offset
                if (change := self._change(begin, tick)) is not None:
                    break
                if tick > moment:
                    yield tick
                begin = tick
            if change is None:
                return
            begin = change
            shown = self._shown(begin) - timedelta(seconds=1)  # the first moment after the change counts, too

    def _shown(self, moment: float) -> datetime:
        """What the clock of the zone shows at a moment."""
        return datetime.fromtimestamp(moment, self.zone).replace(tzinfo=None, fold=0)

    def _offset(self, moment: float) -> float:
        """By how many seconds the clock of the zone is ahead of UTC."""
        offset = datetime.fromtimestamp(moment, self.zone).utcoffset()
        return 0.0 if offset is None else offset.total_seconds()

    def _change(self, begin: float, end: float) -> float | None:
        """The first second after `begin`, up to `end`, from which on the clock has another offset; None if none."""
        offset = self._offset(begin)
        while begin < end:
            following = min(begin + 86400, end)
            if self._offset(following) == offset:
                begin = following
                continue
            while following - begin > 1:
                middle = (begin + following) // 2
                if self._offset(middle) == offset:
                    begin = middle
                else:
                    following = middle
            return following
        return None

    def _matches(self, shown: datetime) -> Iterator[datetime]:
        """The times later than `shown` that fit the expression, on a clock that is never changed."""
        try:
            from cronsim import CronSim, CronSimError
        except ImportError as missing:
            raise UsageError(
                f"{self.where}: cron= needs a package that is missing: pip install 'triggerflow-engine[schedules]'"
            ) from missing
        try:
            yield from CronSim(self.expression, shown)
        except CronSimError as error:
            raise DefinitionError(f"{self.where}: cron={self.expression!r} is not valid: {error}") from error
        except OverflowError:  # the year 10000
            return


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
