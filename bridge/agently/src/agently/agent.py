"""Agents: what `Agently.create_agent()` gives, over the requests and responses of `triggerflow.models`."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import make_dataclass
from functools import lru_cache, partialmethod, reduce
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from triggerflow.models import Output, Request, Response
from triggerflow.models.instant import Event
from triggerflow.models.openai import OpenAIProvider

from .adapt import delegate, delegates
from .settings import GLOBAL, Settings, filled, merged

#: The settings of the model go by all of these names; where two of them are set, the later one counts.
_NAMES = ("plugins.ModelRequester.OpenAICompatible", "OAIClient", "OpenAI", "OpenAICompatible")
#: What can be set; the last line changes nothing, for the engine reads the answers of all servers that there are.
#: Connections are closed at once: an agent asks now and then, and one that waited for it would outlive its event loop.
_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(("base_url", "full_url", "model", "default_model", "api_key", "proxy")), "model_type": "chat",
    "auth": {}, "headers": {"Connection": "close"}, "timeout": {"connect": 30, "read": 600, "write": 30, "pool": 30},
    "client_options": {}, "request_options": {"structured": "prompt"},
    **dict.fromkeys(("stream", "rich_content", "strict_role_orders", "content_mapping")),
}  # fmt: skip
_SYSTEM = ("role", "system", "rule", "user_info")
_FIELDS = ("path", "value", "delta", "is_complete", "wildcard_path", "indexes", "event_type", "full_data")
StreamingData = make_dataclass("StreamingData", _FIELDS)


@lru_cache(maxsize=32)
def _provider(settings: str) -> OpenAIProvider:
    """The endpoint that these settings describe."""
    given: dict[str, Any] = {key: it for key, it in json.loads(settings).items() if it is not None}
    its: Any = SimpleNamespace(**{**_DEFAULTS, **given})
    auth: Any = {"api_key": its.auth} if isinstance(its.auth, str) else its.auth
    model = its.model or (its.default_model["chat"] if isinstance(its.default_model, dict) else its.default_model)
    if wrong := [*(given.keys() - _DEFAULTS), *({its.model_type} - {"chat"}), *([] if model else ["no model"])]:
        raise ValueError(f'set_settings("OpenAICompatible", ...): {wrong} cannot be used; settings are {[*_DEFAULTS]}')
    http = {"proxy": its.proxy, "timeout": tuple(its.timeout.values()), **its.client_options}
    options: Any = {"api_key": auth.get("api_key", its.api_key) or "", "extra_body": auth.get("body"), "http": http}
    options |= {**its.request_options, "extra_headers": {**its.headers, **auth.get("headers", {})}}
    return OpenAIProvider(model, base_url=its.base_url, url=its.full_url, **options)


class ModelResponse(Response):
    """An answer, read as Agently's programs do; one that no `.output()` describes is text."""

    result = property(lambda self: self)

    async def get_async_generator(self, type: Any = "delta", **options: Any) -> AsyncGenerator[Any, None]:
        known: Any = {None: "delta", "streaming_parse": "instant"}.get(type, type)
        async with aclosing(super().get_async_generator(known, **options)) as items:
            async for item in items:
                if isinstance(item, Event):
                    if item.keys:  # neither the whole answer nor the beginning of another one
                        yield StreamingData(*(getattr(item, name) for name in _FIELDS))
                elif isinstance(item, tuple) and item[0] == "original_delta":
                    yield (item[0], item[1].to_json(indent=None))
                else:
                    yield item if isinstance(item, str | tuple) else item.to_json(indent=None)

    async def async_get_data(self, *, type: Any = "parsed", **options: Any) -> Any:
        """Wait for the end; return the data that `.output()` describes, or the text; "all" is a dict of everything."""
        if type == "all":
            whole = await super().async_get_data(type="all", **options)
            data = whole["data"] if self.output else whole["text"]
            parsed = {"parsed_result": data, "result_object": self.output and await self.async_get_data_object()}
            text = {"text_result": whole["text"], "cleaned_result": json.dumps(data), "meta": whole["meta"]}
            raw = [item async for item in self.get_async_generator("original")]
            return {**text, **parsed, "original_delta": raw, "original_done": {}, "errors": [], "extra": {}}
        if type == "parsed" and self.output is None:
            return await self.async_get_text()
        return await super().async_get_data(type=type, **options)

    async def async_get_data_object(self, **options: Any) -> Any:
        """Wait for the end; return the answer as the type that describes it, or with attributes for its keys."""
        made = await super().async_get_data_object(**options)
        if self.output and self.output.typed:
            return made
        return json.loads(json.dumps(await self.async_get_data()), object_hook=lambda it: SimpleNamespace(**it))


@delegates("settings", "set_settings", "load_settings")
@delegates("_response", "get_text", "async_get_text", "get_data", "async_get_data", "get_data_object", "get_meta",
           "async_get_data_object", "async_get_meta", "get_generator", "get_async_generator")  # fmt: skip
class Agent:
    """Collects in a chain of calls what to say to a model. `get_response()` and all that read one begin a new chain."""

    def __init__(self, name: str | None = None, parent: "Agent | None" = None) -> None:
        self.id = uuid4().hex
        self.name, self.settings = name or self.id[:7], Settings(parent.settings if parent else GLOBAL)
        self.always = Settings(parent and parent.said)
        self.said = Settings(self.always)

    def create_request(self, name: str | None = None) -> "Agent":
        return Agent(name or self.name, self)

    def set_request_prompt(self, slot: str, value: Any, mappings: Any = None, *, always: bool = False) -> "Agent":
        """Say something for the next answer or, `always`, for all that follow. `mappings` fill `${name}` in it."""
        (self.always if always else self.said).set_settings(slot, filled(value, mappings or {}))
        return self

    def get_prompt_text(self) -> str:
        return "\n\n".join(str(message["content"]) for message in self._request().to_messages(ask_for_json=True))

    def get_response(self) -> ModelResponse:
        """The answer to what was said. Raises `KeyError` when nothing was, `ValueError` for settings it cannot use."""
        request, options = self._request(), {"request_options": self.said.get("options", {})}
        endpoint = reduce(merged, (*(self.settings.get(name, {}) for name in _NAMES), options), _DEFAULTS)
        provider = _provider(json.dumps(endpoint))
        self.said = Settings(self.always)
        style = self.settings.get("response.streaming_parse_path_style", "dot")
        return ModelResponse(lambda: provider.open(request), output=request.described, path_style=style,
                             constrained=provider.constrained, stall_timeout=None)  # fmt: skip

    def _request(self) -> Request:
        said: dict[str, Any] = {name: it for name, it in self.said.get().items() if it not in (None, "", [], {})}
        system = [str(said.pop(name)) for name in _SYSTEM if name in said]
        output, attached, _ = said.pop("output", None), said.pop("attachment", ()), said.pop("options", None)
        if not (said or output or attached):
            raise KeyError("Prompt requires at least one of 'input', 'info', 'instruct', 'output', 'attachment'.")
        return Request((), "\n\n".join(system) or None, said, output and Output(output), tuple(attached))

    _response, get_result = property(get_response), get_response
    start, async_start = delegate("_response", "get_data"), delegate("_response", "async_get_data")
    set_agent_prompt = partialmethod(set_request_prompt, always=True)


for _slot in (*_SYSTEM, "examples", "info", "instruct", "input", "output", "attachment", "options"):
    setattr(Agent, _slot, partialmethod(Agent.set_request_prompt, _slot))
