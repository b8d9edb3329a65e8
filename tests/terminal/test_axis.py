"""The axis: "idle gaps shortened, the axis does not jump"."""

from hypothesis import given
from hypothesis import strategies as st

from triggerflow.terminal.axis import LEAST, Axis, span, tick

DAY = 86400.0


def test_days_in_which_nothing_is_at_work_take_little_room() -> None:
    axis = Axis()
    axis.turn(1000.0, True)
    axis.turn(1060.0, False)
    axis.turn(1060.0 + 3 * DAY, True)
    axis.turn(1070.0 + 3 * DAY, False)
    assert axis.place(1060.0) == 60
    assert axis.place(1060.0 + 3 * DAY) == 67.5
    assert axis.place(1070.0 + 3 * DAY) == 77.5
    assert [tuple(gap) for gap in axis.gaps] == [(60, 67.5, 3 * DAY)]
    assert axis.time(77.0) == 1069.5 + 3 * DAY


def test_short_waits_stay_as_they_are() -> None:
    axis = Axis()
    axis.turn(0.0, True)
    axis.turn(1.0, False)
    axis.turn(1.0 + LEAST, True)
    assert axis.gaps == []
    assert axis.place(9.0) == 9


@given(st.lists(st.tuples(st.floats(0.001, 1e6), st.booleans()), min_size=1, max_size=30), st.integers(0, 29))
def test_what_has_its_place_keeps_it(turns: list[tuple[float, bool]], seen: int) -> None:
    """Whatever happens later: a bar that was painted is painted at the same place again."""
    axis, at = Axis(), 0.0
    places: dict[float, float] = {}
    for number, (wait, busy) in enumerate(turns):
        at += wait
        axis.turn(at, busy)
        if number <= seen:
            places[at] = axis.place(at)
    assert {time: axis.place(time) for time in places} == places
    ordered = sorted(places)
    assert sorted(places.values()) == [places[time] for time in ordered]


def test_the_whole_grows_by_steps() -> None:
    assert sorted({span(it / 10) for it in range(700)}) == [2, 5, 10, 20, 40, 60, 120]
    assert span(100 * DAY) == 128 * DAY
    assert tick(60, 40) == 20
    assert tick(60, 120) == 10
