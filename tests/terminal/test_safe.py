"""Text from users cannot do anything to a terminal, and takes the columns that were counted."""

import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from triggerflow.terminal import safe

#: What has moved cursors, changed colours, turned lines around, or broken columns.
NASTY = (
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "a\rb\x08c",
    "\x9b2J",
    "\u202egnp.exe",
    "e" + "\u0301" * 50,
    "👨\u200d👩\u200d👧 👍🏽 🇩🇪",
    "日本語",
    "\ud800",
    "[bold]x[/bold] [link=x]",
    "a\u2028b\u0085c",
    "\U000e0041\ufeff\u200b",
)
TEXTS = st.one_of(st.text(), st.sampled_from(NASTY), st.text(st.sampled_from("".join(NASTY))))


@given(TEXTS)
def test_a_line_has_no_character_that_controls_anything(text: str) -> None:
    shown = safe.line(text)
    assert all(unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for char in shown)
    shown.encode()  # nothing in it that cannot be written
    assert safe.line(shown) == shown


@given(TEXTS, st.integers(0, 30))
@example("日本語", 2)
def test_a_text_that_is_cut_or_wrapped_takes_no_more_columns(text: str, columns: int) -> None:
    shown = safe.line(text)
    assert safe.width(safe.cut(shown, columns)) <= columns
    assert safe.width(safe.fit(shown, columns)) == columns
    assert all(safe.width(line) <= max(columns, 2) for line in safe.wrap(shown, columns))
    assert "".join(safe.wrap(shown, columns)).replace(" ", "") == shown.replace(" ", "")


def test_what_people_write_stays_as_it_is() -> None:
    for text in ("Straße, 12 €", "日本", "a [b] c", "→ ok ✓", "naïve"):
        assert safe.line(text) == text
    assert safe.line("two\nlines") == "two⏎lines"
    assert safe.lines("two\r\nlines") == ["two", "lines"]
    assert safe.line("\x1b[31m") == "␛[31m"


def test_a_text_that_is_printed_as_a_whole_keeps_its_line_feeds() -> None:
    assert safe.harmless("a\x1b[2Jb\x9bc\u202ed\n\te") == "a␛[2Jb\\x9bc\\u202ed\n\te"
    assert len(safe.harmless("日\n" * 100_000)) == 200_000


def test_values_are_short_json() -> None:
    assert safe.value({"a": [1, None, "x"]}) == '{"a": [1, null, "x"]}'
    assert safe.value("a text") == "a text"
    assert len(safe.value({"big": "x" * 10_000_000})) <= 400
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert len(safe.value(deep)) <= 400


def test_durations() -> None:
    told = [safe.duration(it) for it in (-1, 0.04, 9.94, 9.96, 59.4, 59.6, 3599, 7265, 86400 * 3.5)]
    assert told == ["0.0s", "0.0s", "9.9s", "10s", "59s", "1m 00s", "59m 59s", "2h 01m", "3d 12h"]
