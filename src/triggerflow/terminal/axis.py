"""The axis of time: where a moment of an execution is on it. Long times in which nothing is at work are shortened."""

from bisect import bisect_right
from typing import NamedTuple

#: An idle time takes at most this part of the axis before it, and `LEAST` seconds where there is little before it.
SHARE, LEAST = 0.125, 2.0
#: What the whole axis may span, in seconds; after a day it doubles. It grows by such steps only, so that nothing on it
#: moves with every new moment.
_SPANS = (2, 5, 10, 20, 40, 60, 120, 300, 600, 1200, 2400, 3600, 7200, 14400, 28800, 57600, 86400)
_TICKS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 43200, 86400)


class Gap(NamedTuple):
    """An idle time that is shortened: where it is on the axis, and how long it was, in seconds."""

    start: float
    end: float
    seconds: float


class Axis:
    """Places times (seconds since the epoch) on an axis (seconds since the start, without what idle times are shortened
    by). Times are given in order: what was placed stays where it is, whatever comes."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []
        #: moments at which something began or ended to be at work, and their places
        self._times: list[float] = []
        self._places: list[float] = []
        #: for each: how far the axis goes on from there at most
        self._limits: list[float] = []

    def turn(self, at: float, busy: bool) -> None:
        """From this time on something is at work, or nothing is."""
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
        """Where a time is."""
        known = bisect_right(self._times, at) - 1
        if known < 0:
            return 0.0
        return self._places[known] + min(at - self._times[known], self._limits[known])

    def time(self, place: float) -> float:
        """The time at a place; within a shortened idle time, that of its beginning."""
        known = max(bisect_right(self._places, place + 1e-9) - 1, 0)
        return self._times[known] + place - self._places[known] if self._times else 0.0

    def gap_until(self, now: float) -> Gap | None:
        """The idle time that has not ended, if it is shortened by now."""
        if not self._times or now - self._times[-1] <= self._limits[-1]:
            return None
        start = self._places[-1]
        return Gap(start, start + self._limits[-1], now - self._times[-1])


def span(seconds: float) -> float:
    """How many seconds an axis shows on which this place has to be."""
    for known in _SPANS:
        if seconds <= known:
            return known
    days = 2.0
    while seconds > days * 86400:
        days *= 2
    return days * 86400


def tick(whole: float, columns: int) -> float:
    """How many seconds are between two labels: a round number, at least a dozen columns."""
    most = max(columns // 12, 1)
    return next((it for it in _TICKS if whole / it <= most), whole)
