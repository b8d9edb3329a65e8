"""Every route is found under the path that is made for it, whatever the ids in it are."""

import inspect

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerflow.backend import Action, Answer, Backend, Cancel, Close, Retry, SetState
from triggerflow.wire import ACTION_ROUTES, ROUTES, Route, body_of, find, path_to

ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(st.sampled_from(ROUTES), st.data())
def test_a_path_leads_to_its_route_with_its_parts(route: Route, data: st.DataObject) -> None:
    parts = {name: data.draw(ids) for name in route.parts}
    path = path_to(route, **parts)
    assert path.isascii()
    assert not {"", ".", ".."} & set(path.split("/")[1:])
    assert find(path)[route.method] == (route, parts)


@given(st.text(st.characters(max_codepoint=127)))
def test_other_paths_lead_nowhere_or_to_what_they_say(path: str) -> None:
    for method, (route, parts) in find(f"/api/{path}").items():
        assert route.method == method
        assert find(path_to(route, **parts))[method] == (route, parts)


@pytest.mark.parametrize("path", ["/api/executions/", "/api/executions/%ff", "/api//flows", "", "/", "/api"])
def test_broken_paths_lead_nowhere(path: str) -> None:
    assert find(path) == {}


def test_each_route_calls_a_method_of_a_backend_and_each_method_has_a_route() -> None:
    methods = {name for name, _ in inspect.getmembers(Backend, inspect.isfunction) if not name.startswith("_")}
    assert {route.calls for route in ROUTES if route.calls} == methods
    assert len({route.name for route in ROUTES}) == len(ROUTES)


def test_every_action_has_a_route_that_carries_all_of_it() -> None:
    assert set(ACTION_ROUTES) == set(Action.__subclasses__())
    for kind, route in ACTION_ROUTES.items():
        body = () if route.body is None else route.body.__struct_fields__
        assert set(route.parts) - {"id"} | set(body) == set(kind.__struct_fields__)


@pytest.mark.parametrize(
    ("action", "parts", "body"),
    [
        (Answer(question="q/1", value=3), {"question": "q/1"}, {"value": 3}),
        (SetState(key="k", value=None), {"key": "k"}, {"value": None}),
        (Close(), {}, None),
        (Retry(force=True), {}, {"force": True}),
        (Cancel(), {}, {"reason": "cancelled by its owner"}),
    ],
)
def test_actions_as_they_are_sent(action: Action, parts: dict[str, str], body: object) -> None:
    assert body_of(action) == (parts, body)
    kind = ACTION_ROUTES[type(action)].body
    if kind is not None:
        assert msgspec.to_builtins(msgspec.json.decode(msgspec.json.encode(body), type=kind)) == body
