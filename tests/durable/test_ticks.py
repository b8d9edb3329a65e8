"""The ticks of cron expressions and intervals, against a calculation that shares nothing with the library.

The other calculation walks through every minute of real time, and looks at what the clock on the wall shows then.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from triggerflow.durable.schedules.schedule_state import MISSED, OVERLAP, ScheduleState, delayed, look
from triggerflow.durable.schedules.ticks import Cron, Interval, in_utc
from triggerflow.errors import DefinitionError

#: Clocks that are changed: by an hour in the night, by half an hour, at midnight, on the southern half, and never.
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Santiago", "Asia/Kolkata"]

BERLIN = ZoneInfo("Europe/Berlin")


def matches(field: str, value: int, first: int, last: int) -> bool:
    """Whether a value fits a field: numbers, ranges, lists, steps."""
    for part in field.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            low, high = first, last
        elif "-" in span:
            low, high = map(int, span.split("-"))
        else:
            low = int(span)
            high = last if step else low
        if low <= value <= high and (value - low) % int(step or 1) == 0:
            return True
    return False


def fits(expression: str, shown: datetime) -> bool:
    """Whether what the clock shows fits an expression."""
    minute, hour, day, month, weekday = expression.split()
    fits_day = matches(day, shown.day, 1, 31)
    number = shown.isoweekday() % 7
    fits_weekday = matches(weekday, number, 0, 7) or (number == 0 and matches(weekday, 7, 0, 7))
    both = day.startswith("*") or weekday.startswith("*")
    return (
        matches(minute, shown.minute, 0, 59)
        and matches(hour, shown.hour, 0, 23)
        and matches(month, shown.month, 1, 12)
        and ((fits_day and fits_weekday) if both else (fits_day or fits_weekday))
    )


def walked(expression: str, zone: ZoneInfo, begin: datetime, days: int) -> list[float]:
    """The ticks after `begin`, minute by minute. A time of day that the clock jumps over counts when it has jumped, and
    one that it shows again does not count again, unless the expression is a pace."""
    minute, hour, *_ = expression.split()
    is_pace = minute.startswith("*") or hour.startswith("*")
    found: list[float] = []
    before = (begin - timedelta(minutes=1)).astimezone(zone).replace(tzinfo=None)
    latest = before
    for number in range(days * 1440):
        moment = begin + timedelta(minutes=number)
        shown = moment.astimezone(zone).replace(tzinfo=None)
        jumped_over = [before + timedelta(minutes=n) for n in range(1, int((shown - before).total_seconds() // 60))]
        is_new = shown > latest
        fit = fits(expression, shown)
        due = fit if is_pace else (fit and is_new) or any(fits(expression, it) for it in jumped_over if it > latest)
        if due and number > 0:
            found.append(moment.timestamp())
        before, latest = shown, max(latest, shown)
    return found


def field(first: int, last: int) -> st.SearchStrategy[str]:
    number = st.integers(first, last)
    # Of two different numbers: crons do not agree on what "5-5/2" is.
    spans = st.lists(number, min_size=2, max_size=2, unique=True).map(sorted).map(lambda it: f"{it[0]}-{it[1]}")
    steps = st.tuples(st.one_of(st.just("*"), spans), st.integers(1, 20)).map(lambda it: f"{it[0]}/{it[1]}")
    one = st.one_of(number.map(str), spans, steps)
    return st.one_of(st.just("*"), one, st.lists(one, min_size=2, max_size=3).map(",".join))


EXPRESSIONS = st.tuples(
    field(0, 59),
    st.one_of(field(0, 23), field(0, 4)),
    st.one_of(st.just("*"), field(1, 28)),
    st.just("*"),
    st.one_of(st.just("*"), field(0, 6)),
).map(" ".join)


def around_a_change(zone: ZoneInfo, number: int) -> datetime:
    """Shortly before the clock of a zone is changed, for the n-th time from 2026 on; a new year if it never is."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    for _ in range(730):
        following = moment + timedelta(days=1)
        if moment.astimezone(zone).utcoffset() != following.astimezone(zone).utcoffset():
            if not number:
                return moment
            number -= 1
        moment = following
    return datetime(2026, 12, 31, tzinfo=UTC)


@settings(max_examples=60, deadline=None)
@given(EXPRESSIONS, st.sampled_from(ZONES), st.integers(0, 3), st.integers(0, 1440))
def test_ticks_are_those_of_a_walk_through_every_minute(expression: str, name: str, change: int, minutes: int) -> None:
    zone = ZoneInfo(name)
    begin = around_a_change(zone, change) - timedelta(minutes=minutes)
    expected = walked(expression, zone, begin, 4)
    end = (begin + timedelta(days=4)).timestamp()
    assert list(takewhile(lambda it: it < end, Cron(expression, name).after(begin.timestamp()))) == expected


@settings(max_examples=100, deadline=None)
@given(EXPRESSIONS, st.sampled_from(ZONES), st.integers(0, 3), st.integers(0, 2 * 86400))
def test_ticks_do_not_depend_on_where_one_begins(expression: str, name: str, change: int, seconds: int) -> None:
    """Workers begin at different moments: none may find a tick that another one does not know."""
    begin = around_a_change(ZoneInfo(name), change).timestamp()
    end = begin + 2 * 86400
    cron = Cron(expression, name)
    every = list(takewhile(lambda it: it < end, cron.after(begin)))
    later = begin + seconds
    assert list(takewhile(lambda it: it < end, cron.after(later))) == [tick for tick in every if tick > later]


def shown(ticks: Iterator[float], count: int) -> list[str]:
    return [datetime.fromtimestamp(tick, BERLIN).isoformat() for tick in islice(ticks, count)]


def test_a_time_that_does_not_exist_comes_after_the_gap() -> None:
    evening = datetime(2026, 3, 28, 20, tzinfo=BERLIN).timestamp()
    assert shown(Cron("30 2 * * *", "Europe/Berlin").after(evening), 2) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_a_time_that_exists_twice_comes_once() -> None:
    evening = datetime(2026, 10, 24, 20, tzinfo=BERLIN).timestamp()
    assert shown(Cron("30 2 * * *", "Europe/Berlin").after(evening), 2) == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]


def test_a_pace_goes_on_through_a_change() -> None:
    night = datetime(2026, 10, 25, 1, 30, tzinfo=BERLIN).timestamp()
    ticks = list(islice(Cron("*/30 * * * *", "Europe/Berlin").after(night), 6))
    assert [tick - night for tick in ticks] == [1800.0 * number for number in range(1, 7)]


@given(st.floats(0.5, 1e6), st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_the_ticks_of_an_interval_are_equal_wherever_one_begins(every: float, anchor: float, ahead: float) -> None:
    interval = Interval(every, anchor)
    begin = anchor + ahead
    first, second = islice(interval.after(begin), 2)
    assert begin < first < begin + every + 1e-5
    assert next(interval.after((first + second) / 2)) == second
    assert next(interval.after(first)) == second


def test_an_interval_has_no_tick_before_its_anchor() -> None:
    assert list(islice(Interval(60, 1000).after(0), 3)) == [1000, 1060, 1120]


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("61 * * * *", "Bad minute"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("@daily", "five fields"),
        ("0 0 31 2 *", "Bad day-of-month"),
        ("0 0 * * FOO", "Bad day-of-week"),
        ("", "five fields"),
    ],
)
def test_an_expression_that_is_not_valid_is_refused(expression: str, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        Cron(expression, "UTC").check()


@pytest.mark.parametrize("zone", ["Nope/Where", "../../etc/passwd", "", "Europe", "\0"])
def test_a_zone_that_nobody_knows_is_refused(zone: str) -> None:
    with pytest.raises(DefinitionError, match="no time zone"):
        Cron("* * * * *", zone)


@pytest.mark.parametrize(
    ("moment", "text"),
    [(0, "1970-01-01T00:00:00Z"), (1.5, "1970-01-01T00:00:01.5Z"), (1774746000.0, "2026-03-29T01:00:00Z")],
)
def test_a_moment_as_text(moment: float, text: str) -> None:
    assert in_utc(moment) == text


# -- what looks start -------------------------------------------------------------------------------------------------

LOOKS = st.lists(st.floats(0, 4000), min_size=1, max_size=30).map(sorted)


@given(LOOKS, st.sampled_from(OVERLAP), st.sampled_from(MISSED), st.sampled_from([0.0, 45.0]), st.data())
def test_whenever_somebody_looks_each_tick_is_started_at_most_once(
    looks: list[float], overlap: Any, missed: Any, jitter: float, data: st.DataObject
) -> None:
    """Ticks at 60, 120, 180 ...; what runs ends at any time, and workers look at any time."""
    state = ScheduleState(every=60, overlap=overlap, missed=missed, jitter=jitter, seen=0.0)
    started: list[float] = []
    for now in looks:
        if state.running and data.draw(st.booleans()):
            state = msgspec.structs.replace(state, running=())
        due = [tick for tick in range(60, 4100, 60) if delayed("x", state, tick) <= now]
        before = state
        while (found := look("x", state, now)).state != state:
            assert not found.starts or overlap == "allow" or not state.running
            started += found.starts
            running = (*state.running, *map(str, found.starts))
            state = msgspec.structs.replace(found.state, running=running)
        assert found.due is not None
        assert found.due > now or state.queue  # else somebody would look again and again
        if missed == "all":
            assert state.started + state.skipped + len(state.queue) == len(due)
        elif overlap == "allow" and due and due[-1] > before.seen:
            newest = delayed("x", state, due[-1])
            assert (started[-1:] == [due[-1]]) == (missed == "latest" or now - newest <= 60)
    assert started == sorted(set(started))
    assert set(started) <= set(range(60, 4100, 60))
    if (missed, overlap) == ("all", "allow"):
        assert started == due


@example([1.0, 600.0], 0.0)  # looked at in the last moment of the window
@example([60.1], 0.1)
@given(LOOKS, st.floats(0, 1000))
def test_no_tick_starts_later_than_its_window(looks: list[float], window: float) -> None:
    state = ScheduleState(every=60, overlap="allow", missed="all", window=window, seen=0.0)
    started: list[tuple[float, float]] = []
    for now in looks:
        while (found := look("x", state, now)).state != state:
            started += [(now, tick) for tick in found.starts]
            state = found.state
    assert all(now <= tick + window for now, tick in started)
    wanted = {tick for tick in range(60, 4100, 60) if any(tick <= now <= tick + window for now in looks)}
    assert {tick for _, tick in started} == wanted
