"""Text that is not quite JSON, as models write it: each spelling is read alike, wherever the deltas are cut."""

import sys
from typing import Any

import pytest

from tests.models.instant_support import every_cut, same

TOLERATED: list[tuple[str, Any]] = [
    ('```json\n{"a": 1}\n```', {"a": 1}),
    ('Here you are:\n\n```\n[{"a": 1}]\n```\nHope {this} helps.', [{"a": 1}]),
    ('{"a": 1} and that is [it].', {"a": 1}),
    ('{"a": [1, 2,], "b": {"c": 3,},}', {"a": [1, 2], "b": {"c": 3}}),
    ('{"a": [1\n2 "x" "y"] "b": 3\n"c": "d"}', {"a": [1, 2, "x", "y"], "b": 3, "c": "d"}),
    ('{"a": [1], , "b": 3}', {"a": [1], "b": 3}),
    ("{'a': 'it\\'s', 'b': 'say \"hi\"', 'c': ''}", {"a": "it's", "b": 'say "hi"', "c": ""}),
    ("{'a': 'it's here', 'b': ['don't', 'x']}", {"a": "it's here", "b": ["don't", "x"]}),
    ("{a: 1, $b_2: {c-d: 2}, é: 3, 4: 5 , e : 6}", {"a": 1, "$b_2": {"c-d": 2}, "é": 3, "4": 5, "e": 6}),
    ("[True, False, None, true, false, null]", [True, False, None, True, False, None]),
    ("[0, -1, 12.5, 1e3, -2.5E-2, 123456789012345678901]", [0, -1, 12.5, 1000.0, -0.025, 123456789012345678901]),
    ('{"a": "line\nbreak\ttab\r\n"}', {"a": "line\nbreak\ttab\r\n"}),
    ('{// first\n"a"/* k */:/* v */1/**/,// a } "b"\n"b":[/* ] ** */2]}', {"a": 1, "b": [2]}),
    (r'["\"\\\/\b\f\n\r\t", "\u00e9\u65e5", "\ud83d\ude00"]', ['"\\/\b\f\n\r\t', "é日", "😀"]),
    ('{"a": """one "two"\nthree""", "b": 1}', {"a": 'one "two"\nthree', "b": 1}),
    ('{"a": """end with "quote"""", "b": """"""}', {"a": 'end with "quote"', "b": ""}),
    ("{'a': '''it's''', 'b': 1}", {"a": "it's", "b": 1}),
    (r'{"a": "\d+ \(x\) it\'s C:\users"}', {"a": r"\d+ \(x\) it's C:\users"}),
    ('{"<think>": "</think> ``` {x} // no /* comment"}', {"<think>": "</think> ``` {x} // no /* comment"}),
]


@pytest.mark.parametrize(("text", "value"), TOLERATED)
def test_tolerated_spellings(text: str, value: Any) -> None:
    parser, follower = every_cut(text)
    assert same(parser.value, value)
    assert parser.complete
    assert parser.objection() is None
    assert all(problem.repaired for problem in parser.problems)
    assert all(event.is_complete for event in follower.done.values())


QUOTATIONS: list[tuple[str, Any]] = [
    ('{"a": "The "best" option", "b": 1}', {"a": 'The "best" option', "b": 1}),
    ('{"a": ""Best" of all", "b": 1}', {"a": '"Best" of all', "b": 1}),
    ('{"a": "He said "yes", and left", "b": 1}', {"a": 'He said "yes", and left', "b": 1}),
    ('{"a": "the word "end"", "b": 1}', {"a": 'the word "end"', "b": 1}),
    ('{"a": "the word "end""}', {"a": 'the word "end"'}),
    ('{"a": "6 " pipe", "b": 1}', {"a": '6 " pipe', "b": 1}),
    ('{"a": "<a href="x.html">x</a>", "b": ["y"]}', {"a": '<a href="x.html">x</a>', "b": ["y"]}),
    ('{"a": "not ("really") so"\n"b": "c"}', {"a": 'not ("really") so', "b": "c"}),
    ('{"a": "the "x" one", b: 1}', {"a": 'the "x" one', "b": 1}),
    ('{"a": "the "x" one" // why\n}', {"a": 'the "x" one'}),
    ('{"a": "the "x" one", /* why */ "b": 1,}', {"a": 'the "x" one', "b": 1}),
    ('["I like "a", "b" and "c"", "d"]', ['I like "a", "b" and "c"', "d"]),
    (
        '["the "x" one", 2, "say "y"", true, "the "z"", {"k": 1}]',
        ['the "x" one', 2, 'say "y"', True, 'the "z"', {"k": 1}],
    ),
    ('["the "x" one", "' + "long " * 60 + '"]', ['the "x" one', "long " * 60]),
    ('{"a "quoted" key": 1, "b": 2}', {'a "quoted" key': 1, "b": 2}),
]


@pytest.mark.parametrize(("text", "value"), QUOTATIONS)
def test_quotations_that_nobody_escaped(text: str, value: Any) -> None:
    parser, _ = every_cut(text)
    assert parser.value == value
    assert parser.objection() is None
    refused = parser.objection(repair=False)
    assert refused is not None
    assert refused.guessed


@pytest.mark.parametrize("space", [" ", "\n" * 200, " " * 300])
def test_valid_json_whose_strings_end_like_quotations(space: str) -> None:
    text = f'{{"a b "{space}: "c ("{space},{space}"d": ["e=", "f "{space}, ""{space}]{space}}}'
    parser, _ = every_cut(text)
    assert parser.value == {"a b ": "c (", "d": ["e=", "f ", ""]}


def test_inches_are_part_of_their_string() -> None:
    parser, follower = every_cut('{"a": "5\'10" tall", "b": {"c": ["10" x 20", "6" or 7"", "y"]}, "d": 1}')
    assert parser.value == {"a": "5'10\" tall", "b": {"c": ['10" x 20', '6" or 7"', "y"]}, "d": 1}
    assert follower.done[("d",)].is_complete
    assert parser.objection() is None


def test_half_a_surrogate_pair_becomes_a_character_that_can_be_encoded() -> None:
    parser, _ = every_cut(r'["\ud83d", "\ude00", "\ud83dx", "\ud83d\n", "\ud83d\ud83d\ude00", "\uZZ"]')
    assert parser.value == ["\ufffd", "\ufffd", "\ufffdx", "\ufffd\n", "\ufffd😀", "\\uZZ"]
    "".join(parser.value).encode()


def test_what_json_reads_as_numbers_is_read() -> None:
    parser, _ = every_cut("[NaN, Infinity, -Infinity, -0]")
    assert repr(parser.value) == "[nan, inf, -inf, 0]"
    assert parser.objection(repair=False) is None


@pytest.mark.parametrize(
    "word", ["007", "1e400", "50%", "$5", "12px", "2024-01-01", "undefined", "1" * 5000, "-", "5\u00b2"]
)
def test_a_word_that_is_no_value_is_skipped_and_told(word: str) -> None:
    parser, follower = every_cut(f'{{"a": 1, "b": {word}, "c": [2, {word}, 3]}}')
    assert parser.value == {"a": 1, "c": [2, 3]}
    assert ("b",) not in follower.done
    assert [problem.offset for problem in parser.problems] == [14, 25 + len(word)]
    assert not any(problem.repaired for problem in parser.problems)


def test_integers_are_read_up_to_the_limit_of_the_interpreter() -> None:
    limit = sys.get_int_max_str_digits()
    parser, _ = every_cut(f'[{"9" * limit}, "x"]')
    assert parser.value == [10**limit - 1, "x"]


def test_a_bracket_that_closes_an_outer_one_leaves_the_inner_truncated() -> None:
    parser, follower = every_cut('{"a": [1, {"b": 2], "c": 3}')
    assert parser.complete
    assert parser.value == {"a": [1, {"b": 2}], "c": 3}
    assert follower.done[("a", 1)].truncated
    assert follower.done[("a",)].is_complete
    assert [problem.message for problem in parser.problems] == ["']' leaves inner brackets open"]


@pytest.mark.parametrize("stray", ["]", "] ]", "*", "= 5", ": 5", "<b", "</b>"])
def test_stray_characters_are_skipped(stray: str) -> None:
    parser, _ = every_cut(f'{{"a": 1 {stray}, "b": 2}}')
    assert parser.value == {"a": 1, "b": 2}
    assert parser.problems


def test_a_missing_value_is_not_made_up() -> None:
    parser, follower = every_cut('{"a": 1, "b": , "c" 2, "d": 3, "e": }')
    assert parser.value == {"a": 1, "d": 3}
    assert parser.complete
    assert len(parser.problems) == 3
    assert ("b",) not in follower.done


def test_the_list_of_problems_is_bounded() -> None:
    parser, _ = every_cut('{"a": 1' + ", ?" * 1000 + "}")
    assert parser.value == {"a": 1}
    assert len(parser.problems) == 100


def test_nesting_is_limited() -> None:
    parser, follower = every_cut('{"a": 1, "b": [[[[2]]]], "c": 3} {"a": 4}', max_depth=3)
    assert parser.value == {"a": 1, "b": [[]]}
    assert not parser.complete
    assert follower.done[("b",)].truncated
    assert [problem.message for problem in parser.problems] == ["brackets nest deeper than 3: reading stops here"]
    wide, _ = every_cut('{"a": [1], "b": [2], "c": {}, "d": [3]}', max_depth=2)
    assert wide.complete
    deep, _ = every_cut("[" * 128 + "]" * 128)
    assert deep.complete
    flood, _ = every_cut("[" * 5000)
    assert not flood.complete
