"""A flow as a web service: POST, GET, server-sent events and WebSocket routes. Needs `triggerflow-agently[fastapi]`."""

import inspect
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket, WebSocketDisconnect
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field, create_model

from ..adapt import is_a
from ..execution import TriggerFlowExecution
from ..flow import TriggerFlow

#: The largest request that is read, in bytes.
MAX_REQUEST = 1024 * 1024
_RUNNABLE = (TriggerFlow, TriggerFlowExecution)
_MALFORMED = "Invalid request payload, expected JSON object with keys 'data' and 'options'. Error: "


class FastAPIHelperRequestData(BaseModel):
    """What a client sends: the start value, and options (`timeout`, `concurrency`, or parameters of a function)."""

    data: Any
    options: dict[str, Any] = Field(default_factory=dict)


def default_wrapper(response: Any) -> Any:
    """A value or an exception as the client gets it: `{"status", "data", "msg"}`, with "error" for an exception."""
    if not isinstance(response, Exception):
        return {"status": 200, "data": response, "msg": None}
    status = 422 if isinstance(response, ValueError) else 504 if isinstance(response, TimeoutError) else 400
    error = {"type": type(response).__name__, "module": type(response).__module__, "message": str(response)}
    error["args"] = [str(it) for it in response.args]  # type: ignore[assignment]
    return {"status": status, "data": None, "msg": str(response), "error": error}


def _check_size(request: Request) -> None:
    if int(request.headers.get("content-length", MAX_REQUEST + 1)) > MAX_REQUEST:
        raise HTTPException(413, f"a request has to say its length, of {MAX_REQUEST} bytes at most")


class FastAPIHelper(FastAPI):
    """A FastAPI app that serves a flow, an execution, or a function that gives one or generates items."""

    def __init__(self, *, response_provider: Any, response_warper: Callable[[Any], Any] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.response_provider, self.response_warper = response_provider, response_warper or default_wrapper

    def use_post(self, path: str, name: str | None = None, *, dependencies: Any = None) -> "FastAPIHelper":
        """`{"data": ..., "options": {...}}` in the body; the result comes back."""
        flow, described = self._described()
        expected = flow and flow.get_contract().initial_input
        model: Any = FastAPIHelperRequestData
        if expected is not None:
            named = f"FastAPIHelperRequestData_{flow.name}"
            model = create_model(named, __base__=FastAPIHelperRequestData, data=(expected, ...))

        async def post_handler(request: Any) -> Any:
            return await self._answered(request)

        post_handler.__annotations__["request"] = model

        guards: list[Any] = [Depends(_check_size), *(dependencies or ())]
        self.post(path, name=name, dependencies=guards, **described)(post_handler)
        return self

    def use_get(self, path: str, name: str | None = None, *, dependencies: Any = None) -> "FastAPIHelper":
        """The same as JSON in the query parameter `payload`."""

        async def get_handler(payload: str) -> Any:
            return await self._answered(payload)

        self.get(path, name=name, dependencies=dependencies, **self._described()[1])(get_handler)
        return self

    def use_sse(self, path: str, name: str | None = None, *, dependencies: Any = None) -> "FastAPIHelper":
        """The items of the runtime stream as server-sent events; a failure is an event named error."""

        async def events(payload: str) -> AsyncIterator[str]:
            async for failed, item in self._wrapped_items(payload):
                yield f"{'event: error' if failed else ''}\ndata: {json.dumps(item)}\n\n".lstrip("\n")

        async def sse_handler(payload: str) -> StreamingResponse:
            return StreamingResponse(events(payload), media_type="text/event-stream")

        self.get(path, name=name, dependencies=dependencies, **self._described()[1])(sse_handler)
        return self

    def use_websocket(self, path: str, name: str | None = None, *, dependencies: Any = None) -> "FastAPIHelper":
        """A request a message; the items of its stream come back, one message each."""

        async def websocket_handler(socket: WebSocket) -> None:
            await socket.accept()
            try:
                while True:
                    async for _, item in self._wrapped_items(await socket.receive_text()):
                        await socket.send_json(item)
            except WebSocketDisconnect:
                return

        self.websocket(path, name=name, dependencies=dependencies)(websocket_handler)
        return self

    def _described(self) -> tuple[Any, dict[str, Any]]:
        """The flow that is served, if it is one, and what OpenAPI tells of its contract."""
        flow = getattr(self.response_provider, "flow", self.response_provider)
        promised: dict[str, Any] = flow.get_contract_metadata() if is_a(flow, TriggerFlow) else {}
        told = {key: it for key, it in promised.items() if it is not None}
        return (flow, {"openapi_extra": {"x-agently-triggerflow-contract": told}}) if told else (None, {})

    async def _answered(self, request: Any) -> JSONResponse:
        try:
            answer = await self._answer(self.response_provider, *_parsed(request))
        except Exception as error:
            answer = error
        return JSONResponse(jsonable_encoder(self.response_warper(answer)))

    async def _answer(self, provider: Any, data: Any, options: dict[str, Any]) -> Any:
        if isinstance(provider, _RUNNABLE):
            return await provider.async_start(data, **_allowed(provider, options))
        made = await _called(provider, data, options)
        return (
            await self._answer(made, data, options) if isinstance(made, _RUNNABLE) else [it async for it in _each(made)]
        )

    async def _items(self, provider: Any, data: Any, options: dict[str, Any]) -> AsyncIterator[Any]:
        made = provider if isinstance(provider, _RUNNABLE) else await _called(provider, data, options)
        runs = isinstance(made, _RUNNABLE)
        async for item in made.get_async_runtime_stream(data, **_allowed(made, options)) if runs else _each(made):
            yield item

    async def _wrapped_items(self, payload: str) -> AsyncIterator[tuple[bool, Any]]:
        try:
            async for item in self._items(self.response_provider, *_parsed(payload)):
                yield False, jsonable_encoder(self.response_warper(item))
        except Exception as error:
            yield True, jsonable_encoder(self.response_warper(error))


def _parsed(request: Any) -> tuple[Any, dict[str, Any]]:
    if isinstance(request, str):
        if len(request) > MAX_REQUEST:
            raise ValueError(f"{_MALFORMED}it is larger than {MAX_REQUEST} bytes")
        try:
            request = FastAPIHelperRequestData.model_validate_json(request)
        except ValueError as error:
            raise ValueError(f"{_MALFORMED}{error}") from error
    return request.data, request.options


def _allowed(provider: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Of what a stranger sends, what he may decide."""
    names = ("timeout", "concurrency") if isinstance(provider, TriggerFlow) else ("timeout",)
    return {name: options[name] for name in names if name in options}


async def _called(provider: Any, data: Any, options: dict[str, Any]) -> Any:
    known = inspect.signature(provider).parameters
    rest = any(it.kind is it.VAR_KEYWORD for it in known.values())
    made = provider(data, **{name: it for name, it in options.items() if rest or name in known})
    return await made if inspect.isawaitable(made) else made


async def _each(made: Any) -> AsyncIterator[Any]:
    if not (inspect.isasyncgen(made) or inspect.isgenerator(made)):
        known = "a flow, an execution, or a function that gives one or generates items"
        raise TypeError(f"a response provider is {known}; this one gave {made!r}")
    if inspect.isgenerator(made):
        for item in made:
            yield item
    else:
        async for item in made:
            yield item
