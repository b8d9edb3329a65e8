"""Server-sent events survive any cut into pieces, and no stranger's stream takes more than its limit."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerflow.wire import Event, EventDecoder, EventTooLarge, encode_comment, encode_event

texts = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))
events = st.lists(st.tuples(st.sampled_from(["frame", "item"]), texts, st.integers(0, 99)))


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(it % (len(data) + 1) for it in cuts), len(data)]
    return [data[one:other] for one, other in pairwise(places)]


@given(events, st.lists(st.integers(0, 10_000)), st.sampled_from([b"\n", b"\r", b"\r\n"]))
def test_what_is_encoded_is_decoded_wherever_it_was_cut(
    sent: list[tuple[str, str, int]], cuts: list[int], end: bytes
) -> None:
    data = b"".join(encode_comment("beat") + encode_event(name, text.encode(), id) for name, text, id in sent)
    decoder = EventDecoder()
    got = [event for piece in cut(data.replace(b"\n", end), cuts) for event in decoder.feed(piece)]
    assert got == [Event(name, text, str(id)) for name, text, id in sent]


def test_an_id_stays_until_another_comes_and_events_without_data_are_skipped() -> None:
    decoder = EventDecoder()
    data = b"\xef\xbb\xbfid: 7\ndata: a\n\nevent: x\n\n: heart\n\ndata: b\ndata: c\nid\n\nretry: 250\n\n"
    assert decoder.feed(data) == [Event("message", "a", "7"), Event("message", "b\nc", "")]
    assert decoder.retry == 250


def test_a_line_or_an_event_above_the_limit_is_refused() -> None:
    for endless in (b"data: " + b"x" * 20, b"data: x\n" * 5):
        decoder = EventDecoder(limit=100)
        for _ in range(2):
            decoder.feed(endless)
        with pytest.raises(EventTooLarge):
            decoder.feed(endless * 2)


def test_heart_beats_never_add_up_to_the_limit() -> None:
    decoder = EventDecoder(limit=100)
    for _ in range(1000):
        assert decoder.feed(encode_comment("still here")) == []
        assert decoder.feed(b": a comment without an empty line\n") == []
    assert decoder.feed(encode_event("end", b"{}")) == [Event("end", "{}")]


@pytest.mark.parametrize(("data", "id"), [(b"a\nb", 1), (b"a\r", 1), (b"a", "1\ndata: forged"), (b"a", "1\r")])
def test_nothing_that_is_sent_can_forge_an_event(data: bytes, id: str | int) -> None:
    with pytest.raises(ValueError, match="one line"):
        encode_event("item", data, id)
