"""What `.output(...)` takes. The comments say what Agently 4.0.9 does with it."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from tests.bridge.model_server import answering

pytestmark = pytest.mark.real_time


async def _asked(description: Any, *texts: Any) -> tuple[Any, Any, str, int]:
    """The data, the object, the last message of the first request, and how many requests it took."""
    with answering(*(it if isinstance(it, str) else json.dumps(it) for it in texts)) as (model, agent):
        response = agent.input("q").output(description).get_response()
        data = await response.async_get_data()
        try:
            made = await response.async_get_data_object()
        except TypeError:
            made = None
        return data, made, model.requests[0]["messages"][-1]["content"], len(model.requests)


@pytest.mark.parametrize(
    ("part", "drawn", "fits", "misfit"),
    [
        (("str",), "<str>", "x", None),
        ("str", "<str>", "x", None),
        (("int", "how many"), "<int>,  // how many", 3, "x"),
        ("'a' | 'b'", '<one of "a", "b">', "b", "c"),
        (("'a' | 'b'", "pick"), '<one of "a", "b">,  // pick', "a", "c"),
        ("'a'|'b'|'c'", '<one of "a", "b", "c">', "c", "d"),
        ("Literal['a', 'b']", '<one of "a", "b">', "b", "c"),
        ("int | None", "<int> or <null>", None, "x"),
        ("Optional[int]", "<int> or <null>", None, "x"),
        ("list[str]", "[\n    <str>,\n    ...\n  ]", ["x"], [1]),
        ("dict[str, int]", '{\n    "<any key>": <int>,\n    ...\n  }', {"k": 1}, {"k": "x"}),
        ([("str", "a name")], "[\n    <str>,  // a name\n    ...\n  ]", ["x"], [1]),
        ([(str, "a"), (int, "b")], "[\n    <str> or <int>,  // a; b\n    ...\n  ]", ["x", 1], [None]),
        ([], "[\n    <any JSON value>,\n    ...\n  ]", ["x", 1], "x"),
        ({}, "<any JSON object>", {"k": 1}, "x"),
        ({str}, "[\n    <str>,\n    ...\n  ]", ["x"], [1]),
    ],
)
async def test_texts_that_name_types(part: Any, drawn: str, fits: Any, misfit: Any) -> None:
    # 4.0.9 writes the text into the prompt as it is, `<'a' | 'b'>`, and takes any value; here one that does not fit is
    # asked for again, as with any other type
    data, made, prompt, requests = await _asked({"a": part}, {"a": misfit}, {"a": fits})
    assert (data, requests) == ({"a": fits}, 2)
    assert made.a == (SimpleNamespace(**fits) if isinstance(fits, dict) else fits)
    assert f'"a": {drawn}' in prompt


@pytest.mark.parametrize(
    ("part", "words"),
    [("a title of five words", "a title of five words"), (("a title", "in French"), "a title; in French"), (5, "5"),
     ("not [ a type", "not [ a type"), ("os.system('x')", "os.system('x')"), ("unknown[str]", "unknown[str]")],
)  # fmt: skip
async def test_a_text_that_is_no_type_says_in_words_what_to_write(part: Any, words: str) -> None:
    data, _, prompt, requests = await _asked({"a": part}, {"a": ["x"]})
    assert (data, requests) == ({"a": ["x"]}, 1)  # any value fits, as there
    assert f"// {words}" in prompt


async def test_none_takes_any_value() -> None:
    assert (await _asked({"a": None}, {"a": "x"}))[0] == {"a": "x"}


async def test_the_third_element_is_the_value_of_a_missing_key() -> None:
    # 4.0.9: get_data() gives what came, get_data_object() has a='dflt'
    description = {"a": (str, "d", "dflt"), "b": (str,), "n": {"x": ("int", None, 7)}}
    data, made, prompt, requests = await _asked(description, {"b": "x", "n": {}})
    assert (data, requests) == ({"b": "x", "n": {}}, 1)
    assert (made.a, made.b, made.n.x) == ("dflt", "x", 7)
    assert "dflt" not in prompt
    assert "// d" in prompt
    data, made, _, requests = await _asked(description, {"a": 5, "b": "x", "n": {}}, {"a": "y", "b": "x", "n": {}})
    assert (made.a, requests) == ("y", 2)  # a value that is there has to fit
    _, made, _, requests = await _asked({"a": (str, "d", "x"), "b": (int, "d", 1)}, {})
    assert (made.a, made.b, requests) == ("x", 1, 1)


async def test_a_key_without_a_value_of_its_own_is_asked_for_again() -> None:
    for third in ((), (True,), (False,)):  # 4.1: True ensures the key. In 4.0.9 a bool here is a TypeError
        description = {"a": (str, "d", *third), "b": (str,)}
        data, _, _, requests = await _asked(description, {"b": "x"}, {"a": "y", "b": "x"})
        assert (data, requests) == ({"a": "y", "b": "x"}, 2)


async def test_an_answer_that_is_one_value_has_the_key_value() -> None:
    for description in (("str",), (str, "d"), ("'x' | 'y'",)):  # 4.0.9 takes {'value': 'x'} for ("str",)
        data, made, prompt, _ = await _asked(description, {"value": "x"})
        assert (data, made.value) == ({"value": "x"}, "x")
        assert '"value": <' in prompt
    data, made, prompt, _ = await _asked(int, {"value": 5, "reply": "five"})  # as 4.0.9 asks for it
    assert (data, made.reply) == ({"value": 5, "reply": "five"}, "five")
    assert '"reply": <str>,  // Reply according the result value' in prompt


async def test_an_answer_that_is_a_list() -> None:
    assert (await _asked(["str"], ["a", "b"]))[0] == ["a", "b"]
    assert (await _asked([("str", "d")], ["a"]))[0] == ["a"]
    assert (await _asked([{"x": "int"}], [{"x": 1}]))[0] == [{"x": 1}]


async def test_a_plain_string_describes_an_answer_that_is_text() -> None:
    # 4.0.9: get_data() is the text, though it be JSON; get_data_object() is a TypeError
    data, made, prompt, _ = await _asked("write a poem", "roses")
    assert (data, made) == ("roses", None)
    assert "[OUTPUT REQUIREMENT]\nwrite a poem" in prompt
    assert (await _asked("as JSON", '{"a": 1}'))[0] == '{"a": 1}'
    assert (await _asked(str, "roses"))[:3] == ("roses", None, "q")
