"""The laws of the instant parser on documents nobody thought of; `fuzz_instant` runs as many as you like."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.fuzz_instant import check
from tests.models.instant_support import follow, pieces, same

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
DOCUMENTS = st.dictionaries(st.text(), VALUES, min_size=1) | st.lists(VALUES, min_size=1)
CUTS = st.randoms(use_true_random=False)


def cut(text: str, rng: random.Random) -> list[str]:
    places = sorted(rng.choices(range(len(text) + 1), k=rng.randrange(len(text) + 1)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


def paths(value: Any, keys: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items: list[Any] = list(
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    )
    return [path for key, item in items for path in paths(item, (*keys, key))] + [keys]


@given(DOCUMENTS, CUTS, st.booleans(), st.sampled_from([None, 1]), st.booleans())
def test_a_document_in_any_cuts_is_what_json_reads(
    value: Any, rng: random.Random, ascii_only: bool, indent: int | None, trust: bool
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    parser, follower = follow(cut(text, rng), trust_quotes=trust)
    assert parser.complete
    assert same(parser.value, json.loads(text))
    assert list(follower.done) == paths(value)
    assert parser.problems == []


@given(DOCUMENTS, CUTS, st.data())
def test_a_cut_document_is_truncated_and_what_is_complete_is_right(
    value: Any, rng: random.Random, data: st.DataObject
) -> None:
    text = json.dumps(value)
    length = data.draw(st.integers(0, len(text) - 1))
    parser, follower = follow(cut(text[:length], rng))
    assert not parser.complete
    for keys, event in follower.done.items():
        part = value
        for key in keys:
            part = part[key]
        if event.is_complete:
            assert same(event.value, part)
        elif event.kind == "string":
            assert part.startswith(event.value)


@given(st.text(alphabet="{}[]\",:'\\/*`<>=tru-1e \nthink", max_size=60), CUTS)
def test_any_text_in_any_cuts_gives_the_same_events(text: str, rng: random.Random) -> None:
    outcomes = [
        [(keys, event.is_complete, repr(event.value)) for keys, event in follow(deltas)[1].done.items()]
        for deltas in ([text], pieces(text, 1), cut(text, rng))
    ]
    assert outcomes[0] == outcomes[1] == outcomes[2]


@given(st.text(max_size=200), st.sampled_from([None, "object", "array"]))
def test_no_text_raises(text: str, root: Any) -> None:
    follow(pieces(text, 3), root=root, expect_keys=["a"])


@pytest.mark.seeds(5, 60)
def test_documents_spellings_truncations_and_damage(seed: int) -> None:
    for case in range(seed * 300, seed * 300 + 300):
        try:
            check(case)
        except AssertionError as error:
            error.add_note(f"repeat this case with tests.models.fuzz_instant.check({case})")
            raise
