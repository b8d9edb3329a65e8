"""The axis of time: where moments of an execution are on it. Long times in which nothing is at work are shortened."""

from bisect import bisect_right
from typing import NamedTuple

#: An idle time is shortened to this part of the axis before it, but not to less than `LEAST` seconds.
SHARE, LEAST = 0.125, 2.0
#: The lengths that the whole axis can have, in seconds; after a day the length doubles. Since it grows in these steps
#: only, what is drawn moves seldom.
_SPANS = (2, 5, 10, 20, 40, 60, 120, 300, 600, 1200, 2400, 3600, 7200, 14400, 28800, 57600, 86400)
_TICKS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 43200, 86400)


class Gap(NamedTuple):
    """A shortened idle time: where it begins and ends on the axis, and how many seconds it really took."""

    start: float
    end: float
    seconds: float


class Axis:
    """Maps times (seconds since the epoch) to places on the axis (seconds since the start, minus what idle times were
    shortened by). `turn` is called in the order of time; a place never changes later."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []
        #: the times at which work began or ended, and their places
        self._times: list[float] = []
        self._places: list[float] = []
        #: for each of them: the longest stretch of axis up to the next one
        self._limits: list[float] = []

    def turn(self, at: float, busy: bool) -> None:
        """Note that from this time on something is at work (`busy`), or nothing is."""
        place = self.place(at)
        if self._times and self._limits[-1] != float("inf"):
            waited = at - self._times[-1]
            if waited > self._limits[-1]:
                self.gaps.append(Gap(self._places[-1], place, waited))
        limit = float("inf") if busy else max(LEAST, place * SHARE)
        if self._times and self._times[-1] >= at:
            self._limits[-1] = limit
            return
        self._times.append(at)
        self._places.append(place)
        self._limits.append(limit)

    def place(self, at: float) -> float:
        """The place of a time."""
        known = bisect_right(self._times, at) - 1
        if known < 0:
            return 0.0
        return self._places[known] + min(at - self._times[known], self._limits[known])

    def time(self, place: float) -> float:
        """The time of a place. Within a shortened idle time, places count on from its beginning."""
        known = max(bisect_right(self._places, place + 1e-9) - 1, 0)
        return self._times[known] + place - self._places[known] if self._times else 0.0

    def gap_until(self, now: float) -> Gap | None:
        """The present idle time, if it is long enough to be shortened; else None."""
        if not self._times or now - self._times[-1] <= self._limits[-1]:
            return None
        start = self._places[-1]
        return Gap(start, start + self._limits[-1], now - self._times[-1])


def span(seconds: float) -> float:
    """The length of the axis in seconds, so that a place fits on it."""
    for known in _SPANS:
        if seconds <= known:
            return known
    days = 2.0
    while seconds > days * 86400:
        days *= 2
    return days * 86400


def tick(whole: float, columns: int) -> float:
    """The seconds between two labels: a round number, at least a dozen columns wide."""
    most = max(columns // 12, 1)
    return next((it for it in _TICKS if whole / it <= most), whole)
