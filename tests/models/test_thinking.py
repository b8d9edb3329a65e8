"""Thinking in the text of an answer: every family of marks, cut anywhere, with drafts of the answer in it."""

import json
from typing import Any

import pytest

from tests.models.instant_support import every_cut, follow
from triggerflow.models import Response
from triggerflow.models.instant import InstantParser
from triggerflow.models.instant.thinking import FAMILIES, Family

DRAFT = 'maybe {"title": "Draft", "n": 9}, or {"title": {"x": [1, {}]}}, or [{"title": "no"}]; sets are {x} and [y'
ANSWER = {"title": "Sails", "n": 1}
TEXT = json.dumps(ANSWER)
KEYS = {"title", "n"}
MARKED = [
    (f"{begin}{case}", getattr(begin, case)(), getattr(end, case)())
    for family in FAMILIES
    for begin in family.begin
    for end in family.end
    for case in ("strip", "lower", "upper")
]
OPENED_IN_THE_PROMPT = [end for family in FAMILIES for end in family.end if end not in ("<|end|>", "<|call|>")]


def is_answer(parser: InstantParser) -> bool:
    return parser.complete and parser.value == ANSWER


@pytest.mark.parametrize(("begin", "end"), [mark[1:] for mark in MARKED], ids=[mark[0] for mark in MARKED])
def test_a_draft_between_the_marks_is_not_the_answer(begin: str, end: str) -> None:
    for options in ({}, {"expect_keys": KEYS}, {"expect_keys": KEYS, "root": "object"}):
        parser, follower = every_cut(f"Sure.\n{begin}{DRAFT}{end}\n\n{TEXT}", **options)
        assert is_answer(parser)
        assert follower.attempt == 1, "nothing of the draft was reported"


@pytest.mark.parametrize("family", FAMILIES, ids=[family.about for family in FAMILIES])
def test_every_cut_in_two(family: Family) -> None:
    for begin in family.begin or ("",):
        text = f"{begin} {DRAFT} {family.end[0]}{TEXT}"
        for cut in range(len(text) + 1):
            parser, _ = follow([text[:cut], text[cut:]], expect_keys=KEYS, root="object")
            assert is_answer(parser), cut


@pytest.mark.parametrize("end", OPENED_IN_THE_PROMPT)
def test_an_end_mark_without_its_beginning_takes_back_what_was_before_it(end: str) -> None:
    for draft in (DRAFT, '{"title": "Draft", "n": 9}', 'first {"title": "Draft", "n": 9, "m": [1', '{"title": '):
        text = f"{draft} {end} {TEXT}"
        whole, _ = every_cut(text, expect_keys=KEYS)
        assert is_answer(whole), draft
    whole, _ = every_cut(f'{{"title": "Draft", "n": 9, "m": {{"x": 1 {end} {TEXT}', expect_keys=KEYS)
    # As a word, a mark may be read as a key that the model has not quoted: then the answer is not certain.
    assert is_answer(whole) or (end[0].isalpha() and whole.problems)


def test_thinking_that_leaves_an_array_open() -> None:
    for end in ("</think>", "[/THINK]", "◁/think▷", "<channel|>", "<|END_THINKING|>"):
        for draft in ("[1, 2 ", "[1, ", "[", '[{"n": 1}, '):
            parser, _ = every_cut(f"{draft}{end}[3, 4]")
            assert parser.complete
            assert parser.value == [3, 4]


@pytest.mark.parametrize("mark", [mark for family in FAMILIES for mark in (*family.begin, *family.end)])
def test_the_same_letters_in_the_answer_are_text(mark: str) -> None:
    answer = {"title": f"{mark} a {mark}", "n": 1, mark: [mark, {"x": mark}]}
    parser, follower = every_cut(json.dumps(answer, ensure_ascii=False), expect_keys=KEYS)
    assert parser.complete
    assert parser.value == answer
    assert follower.attempt == 1
    listed, _ = every_cut(json.dumps([mark, [mark]], ensure_ascii=False), root="array")
    assert listed.value == [mark, [mark]]


def test_words_that_look_like_the_beginning_of_a_mark() -> None:
    for prose in (
        "a < b",
        "<t",
        "[T",
        "[THIN",
        "[/TH",
        "◁",
        "assist",
        "assistant fin",
        "Here is my",
        "<|chan",
        "<|channel|>fin",
    ):
        parser, _ = every_cut(f"{prose} {TEXT} {prose}", expect_keys=KEYS)
        assert is_answer(parser), prose
    for text, value in (("[True, 1]", [True, 1]), ("[[THIS], 2]", None), ('["T"]', ["T"]), ("[ ]", [])):
        parser, _ = every_cut(text, root="array")
        assert value is None or parser.value == value


def test_thinking_inside_of_thinking() -> None:
    draft = '{"title": "Draft", "n": 9}'
    for text in (
        f"<think>a <thinking>{draft}</thinking> b {draft}</think>{TEXT}",
        f"<think>I must not write <think> again. {draft}</think>{TEXT}",
        f"<thinking>a <reflection>{draft}</reflection> b {draft}</thinking>{TEXT}",
        f"<thinking>I could close it with a <thought> tag. {draft}</thinking>{TEXT}",
        f"<think>{draft}</thinking>{TEXT}",
        f"<think>{draft}</think><think>{draft}</think>{TEXT}",
        f"<|channel|>analysis<|message|>{draft}<|end|><|start|>assistant<|channel|>commentary<|message|>{draft}<|end|>"
        f"<|start|>assistant<|channel|>final <|constrain|>json<|message|>{TEXT}<|return|>",
        f"[THINK]{draft}[/THINK]{TEXT}</s>",
    ):
        parser, follower = every_cut(text, expect_keys=KEYS)
        assert is_answer(parser), text
        assert follower.attempt == 1, text


def test_the_end_of_a_turn_takes_no_answer_back() -> None:
    parser, follower = every_cut(f'{TEXT}<|end|><|user|>And {{"title": "other", "n": 2}}?', expect_keys={"title"})
    assert parser.value == ANSWER
    assert follower.attempt == 1


async def test_the_text_stays_text_and_the_answer_is_found_behind_the_thinking() -> None:
    answer: Any = {"title": str, "n": int}
    for begin, end in (("<thinking>", "</thinking>"), ("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷")):
        pieces = [begin, DRAFT, end, "\n\n", TEXT]
        response = Response(pieces, output=answer)
        assert await response.async_get_data() == ANSWER
        assert [text async for text in response.get_async_generator("delta")] == pieces
        assert (await response.async_get_data(type="all"))["reasoning"] == ""
