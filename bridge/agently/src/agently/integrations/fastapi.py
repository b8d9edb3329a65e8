"""Flows and agents as a web service: POST, GET, server-sent events, WebSocket. Needs `triggerflow-agently[fastapi]`."""

import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from fastapi import FastAPI, Response, WebSocket, WebSocketDisconnect
from fastapi.concurrency import iterate_in_threadpool
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, Field, create_model

from ..execution import TriggerFlowExecution
from ..flow import TriggerFlow

MAX_REQUEST = 1024 * 1024  # bytes; a larger request is refused without reading it
#: The parts of an agent's prompt that a client may set, and the options with which it may read the result and the
#: stream. A client gets three retries at most.
_SLOTS = {"input", "info", "instruct", "examples", "user_info"}
_READING = (("type", "ensure_keys", "key_style", "max_retries", "raise_ensure_failure"), ("type", "specific"))
_as_json = partial(jsonable_encoder, custom_encoder={Response: lambda it: it})


class FastAPIHelperRequestData(BaseModel):
    """A request: the start value of a flow or the prompt of an agent, and options such as `timeout`, `concurrency`."""

    data: Any
    options: dict[str, Any] = Field(default_factory=dict)


def default_wrapper(response: Any) -> Any:
    """The answer for a value or an exception: `{"status", "data", "msg"}`, for an exception also "error"."""
    if not isinstance(response, Exception):
        return {"status": 200, "data": response, "msg": None}
    status = 422 if isinstance(response, ValueError) else 504 if isinstance(response, TimeoutError) else 400
    kind = ValueError if status == 422 and type(response).__module__.startswith("triggerflow") else type(response)
    error: dict[str, Any] = {"type": kind.__name__, "module": kind.__module__, "message": str(response)}
    context = None if response.__suppress_context__ else response.__context__
    for name, it in (("cause", response.__cause__), ("context", context)):
        if it is not None:
            error[name] = {"type": type(it).__name__, "message": str(it)}
    error["args"] = [str(it) for it in response.args]
    return {"status": status, "data": None, "msg": str(response), "error": error}


def _route(kind: str, handler: str) -> Any:
    def use(self: Any, path: str, name: str | None = None, *, dependencies: Any = None) -> Any:
        add = partial(getattr(self, kind), path, name=name, dependencies=dependencies)
        add(**self.described.get(handler, {}))(getattr(self, handler))
        return self

    return use


class FastAPIHelper(FastAPI):
    """A FastAPI app that serves a flow, execution or agent, a function that returns one, or a generator function."""

    def __init__(self, *, response_provider: Any, response_warper: Callable[[Any], Any] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.response_provider, self.response_warper = response_provider, response_warper or default_wrapper
        model, self.described = _described(getattr(response_provider, "flow", response_provider))

        async def post_handler(request: Any) -> Response:
            return await self.get_handler(request)

        post_handler.__annotations__["request"] = model
        self.post_handler = post_handler

    use_post, use_get = _route("post", "post_handler"), _route("get", "get_handler")
    use_sse, use_websocket = _route("get", "sse_handler"), _route("websocket", "websocket_handler")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        size = dict(scope["headers"]).get(b"content-length", MAX_REQUEST + 1) if scope.get("method") == "POST" else 0
        refused = PlainTextResponse(f"a POST request needs a Content-Length of at most {MAX_REQUEST} bytes", 413)
        await (super().__call__ if int(size) <= MAX_REQUEST else refused)(scope, receive, send)

    async def get_handler(self, payload: str) -> Response:
        ((_, answer),) = [it async for it in self._answers(payload, stream=False)]
        return answer if isinstance(answer, Response) else JSONResponse(answer)

    async def sse_handler(self, payload: str) -> Response:
        answers = self._answers(payload, stream=True)
        events = (f"{name}data: {json.dumps(it, ensure_ascii=False)}\n\n" async for name, it in answers)
        return StreamingResponse(events, media_type="text/event-stream")

    async def websocket_handler(self, socket: WebSocket) -> None:
        await socket.accept()
        with suppress(WebSocketDisconnect):
            while True:
                async for _, item in self._answers(await socket.receive_text(), stream=True):
                    await socket.send_json(item)

    async def _answers(self, request: Any, *, stream: bool) -> AsyncIterator[tuple[str, Any]]:
        """The items of the stream, or only the result: pairs of an event name and JSON data.

        The name is empty, or "event: error" if the data describes an exception.
        """
        try:
            asked = _parsed(request)
            async for item in _items(self.response_provider, asked.data, asked.options, stream=stream):
                yield "", _as_json(self.response_warper(item))
        except Exception as error:
            yield "event: error\n", _as_json(self.response_warper(error))


def _described(flow: Any) -> tuple[Any, dict[str, Any]]:
    """The Pydantic model of a request, and the options of the routes, which show the flow's contract in OpenAPI."""
    promised: dict[str, Any] = flow.get_contract_metadata() if isinstance(flow, TriggerFlow) else {}
    if not promised:
        return FastAPIHelperRequestData, {}
    told = {"x-agently-triggerflow-contract": {key: it for key, it in promised.items() if it is not None}}
    given, result = flow.get_contract().initial_input or Any, flow.get_contract().result or Any
    parts: Any = {"data": (result | None, None), "msg": (str | None, None), "error": (dict[str, Any] | None, None)}
    answer = create_model(f"FastAPIHelperResponseData_{flow.name}", status=(int, ...), **parts)
    asked = create_model(f"FastAPIHelperRequestData_{flow.name}", __base__=FastAPIHelperRequestData, data=(given, ...))
    both: Any = {"openapi_extra": told, "responses": {200: {"model": answer}}}
    return asked, {"post_handler": both, "get_handler": both, "sse_handler": {"openapi_extra": told}}


def _parsed(request: Any) -> Any:
    try:
        if isinstance(request, str) and len(request) > MAX_REQUEST:
            raise ValueError(f"the request is larger than {MAX_REQUEST} bytes")
        return FastAPIHelperRequestData.model_validate_json(request) if isinstance(request, str) else request
    except ValueError as error:
        expected = "expected JSON object with keys 'data' and 'options'"
        raise ValueError(f"Invalid request payload, {expected}. Error: {error}") from error


async def _items(provider: Any, data: Any, options: dict[str, Any], *, stream: bool) -> AsyncIterator[Any]:
    """The items of a provider's stream; without `stream` only its result."""
    found: Any = await _called(provider, data, options) if callable(provider) else provider
    if isinstance(found, TriggerFlow | TriggerFlowExecution):
        allowed = _only(("timeout", "concurrency") if isinstance(found, TriggerFlow) else ("timeout",), options)
        items = (found.get_async_runtime_stream if stream else found.async_start)(data, **allowed)
    elif hasattr(found, "create_request"):
        if not (isinstance(data, dict) and _SLOTS.issuperset(data)):
            raise TypeError(f"expect prompt configures as a dictionary: its keys may be {sorted(_SLOTS)}; got {data!r}")
        request = found.create_request()
        for slot, value in data.items():
            request.set_request_prompt(slot, value)
        allowed = _only(_READING[stream], {**options, "max_retries": min(options.get("max_retries", 3), 3)})
        items = (request.get_async_generator if stream else request.async_get_data)(**allowed)
    elif inspect.isasyncgen(found) or inspect.isgenerator(found):
        items = found if inspect.isasyncgen(found) else iterate_in_threadpool(found)
    else:
        raise TypeError(f"expected a flow, execution, agent or generator function as response provider, not {found!r}")
    if inspect.isawaitable(items):
        yield await items
    elif stream:
        async for item in items:
            yield item
    else:
        yield [item async for item in items]


async def _called(provider: Any, data: Any, options: dict[str, Any]) -> Any:
    known = inspect.signature(provider).parameters
    rest = any(it.kind is it.VAR_KEYWORD for it in known.values())
    made = provider(data, **(options if rest else _only(known, options)))
    return await made if inspect.isawaitable(made) else made


def _only(names: Iterable[str], options: dict[str, Any]) -> dict[str, Any]:
    """The options of a request that a client may set."""
    return {name: options[name] for name in names if name in options}
