"""An error keeps its class and its code over the wire."""

import msgspec
import pytest

from triggerflow import errors
from triggerflow.backend import CODES, BadRequest, UnknownFlow, error_info
from triggerflow.wire import Busy, NotAllowed, error_of, problem_of
from triggerflow.wire.problems import STATUS


@pytest.mark.parametrize("kind", [it for it in CODES if it is not errors.ExecutionCancelled])
def test_a_client_raises_the_class_that_stands_for_the_code(kind: type[Exception]) -> None:
    sent = problem_of(kind("what happened"))
    got = error_of(sent.status, msgspec.json.encode(sent))
    assert error_info(got) == error_info(kind("what happened"))
    assert str(got) == "what happened"
    assert type(got) is (BadRequest if kind is errors.DefinitionError else kind)  # they share a code


def test_a_cancelled_execution_has_the_same_text() -> None:
    sent = problem_of(errors.ExecutionCancelled("too late", "run-1"))
    got = error_of(sent.status, msgspec.json.encode(sent))
    assert isinstance(got, errors.ExecutionCancelled)
    assert str(got) == "execution run-1 was cancelled: too late"


def test_every_code_has_a_status() -> None:
    assert set(CODES.values()) <= set(STATUS)


@pytest.mark.parametrize("error", [NotAllowed("no"), Busy("full"), BadRequest("bad"), UnknownFlow("x")])
def test_errors_of_the_server_itself(error: Exception) -> None:
    sent = problem_of(error)
    assert type(error_of(sent.status, msgspec.json.encode(sent))) is type(error)


def test_an_error_of_a_users_code_says_nothing_of_its_text() -> None:
    assert "secret" not in problem_of(RuntimeError("secret")).detail


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (502, b"<html>Bad gateway</html>", errors.StoreUnavailable),
        (401, b"", NotAllowed),
        (404, b"\xff\xfe", BadRequest),
        (500, b"[]", errors.InternalError),
        (418, b'{"status":418,"code":"a_later_one","title":"x"}', BadRequest),
    ],
)
def test_answers_that_are_no_problem_or_an_unknown_one(status: int, body: bytes, kind: type[Exception]) -> None:
    assert type(error_of(status, body)) is kind
