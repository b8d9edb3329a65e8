"""The execution's state, its stream, and signals that nobody hears."""

from typing import Any

import pytest

from tests.core.flows import program
from tests.core.simulation import Effect, Simulation, Start
from triggerflow._core import events
from triggerflow._core.errors import ProtocolError

# -- state -----------------------------------------------------------------------------------------------------------


def changed(*records: events.Event) -> Simulation:
    def build(flow: Any, chunk: Any) -> None:
        flow.when({"runtime_data": "key"}).to(chunk("heard"))
        flow.when("something from outside").to(chunk("waits"))

    it = program(build).simulation()
    it.send(Start().record())
    for record in records:
        it.send(record)
    return it


def change(op: Any, value: Any = None, emit: bool = True) -> events.Event:
    return events.StateChanged(0.0, None, op, "key", value, emit)


def test_a_list_can_be_appended_to_after_it_was_deleted() -> None:
    it = changed(change("append", 1), change("delete"), change("append", 2))
    assert it.machine.state.data == {"key": [2]}
    assert [run.value for run in it.issued] == [[1], None, [2]]


def test_a_list_that_a_chunk_set_stays_its_own() -> None:
    own = [1]
    it = changed()
    it.machine.receive(change("set", own))
    it.machine.receive(change("append", 2))
    assert (own, it.machine.state.data) == ([1], {"key": [1, 2]})


def test_a_change_without_emit_is_not_heard() -> None:
    it = changed(change("set", [1], False), change("append", 2, False))
    assert (it.issued, it.machine.state.data) == ([], {"key": [1, 2]})
    it.send(change("delete", emit=False))
    assert (it.issued, it.machine.state.data) == ([], {})


def test_only_a_list_can_be_appended_to() -> None:
    with pytest.raises(ProtocolError, match=r"state\['key'\] is a int; only a list can be appended to"):
        changed(change("set", 1), change("append", 2))


def test_a_list_that_nobody_has_got_grows_in_place() -> None:
    """An append may not cost more the longer the list is."""
    it = changed()
    for value in range(3):
        it.machine.receive(events.StateChanged(0.0, None, "append", "unheard", value))
        if value == 0:
            first = it.machine.state.data["unheard"]
    assert it.machine.state.data["unheard"] is first
    assert first == [0, 1, 2]


# -- the stream ------------------------------------------------------------------------------------------------------


def test_items_are_numbered_and_the_stream_stops_once() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("a", "same", Effect("put", "", 1), Effect("put", "", 2), Effect("stop"), Effect("stop")))

    it = program(build).simulate()
    told = [entry[:2] for answer in it.answers for entry in answer if entry[0] in ("Publish", "StopStream")]
    assert told == [("Publish", "1"), ("Publish", "2"), ("StopStream",)]


def test_an_item_after_the_stop_is_refused() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("a", "same", Effect("stop"), Effect("put", "", 3)))

    it = program(build).simulate()
    assert it.stream == []
    assert [entry for answer in it.answers for entry in answer if entry[0] == "ItemAfterStop"] == [
        ("ItemAfterStop", "3")
    ]


def test_the_first_unheard_signal_of_a_name_is_told() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("a", "same", *[Effect("emit", name) for name in ("x", "y", "x")]))

    it = program(build).simulate()
    unheard = [entry for answer in it.answers for entry in answer if entry[0] == "UnhandledSignal"]
    assert unheard == [("UnhandledSignal", '"x"'), ("UnhandledSignal", '"y"')]
