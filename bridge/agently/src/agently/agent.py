"""Agents, as `Agently.create_agent()` makes them, built on the requests and responses of `triggerflow.models`."""

import inspect
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import make_dataclass
from functools import lru_cache, partialmethod, reduce
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from triggerflow.models import Request, Response
from triggerflow.models.instant import Event
from triggerflow.models.openai import OpenAIProvider

from .adapt import delegate, delegates, twin
from .history import history_of, joined, messages_of
from .notation import TextOutput, attributes, output_of
from .settings import GLOBAL, Settings, filled, merged

#: The names under which programs set the model's settings. If several are set, the last in this order counts.
_NAMES = ("plugins.ModelRequester.OpenAICompatible", "OAIClient", "OpenAI", "OpenAICompatible")
#: The settings and their defaults. The last two are accepted and have no effect: the engine reads the answers of all
#: servers without them. "Connection: close" is there because an agent sends few requests, and a connection kept for the
#: next one would outlive its event loop.
_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(("base_url", "full_url", "model", "default_model", "api_key", "proxy")), "model_type": "chat",
    "auth": {}, "headers": {"Connection": "close"}, "timeout": {"connect": 30, "read": 600, "write": 30, "pool": 30},
    "client_options": {}, "request_options": {"structured": "prompt"},
    "rich_content": False, "strict_role_orders": True, **dict.fromkeys(("stream", "content_mapping")),
}  # fmt: skip
_HISTORY = "chat_history"
_SYSTEM = ("role", "system", "rule", "user_info")
_FIELDS = ("path", "value", "delta", "is_complete", "wildcard_path", "indexes", "event_type", "full_data")
StreamingData = make_dataclass("StreamingData", _FIELDS)


@lru_cache(maxsize=32)
def _provider(settings: str) -> OpenAIProvider:
    """The provider for settings in JSON. Raises `ValueError` for settings that it cannot use."""
    given: dict[str, Any] = {key: it for key, it in json.loads(settings).items() if it is not None}
    its: Any = SimpleNamespace(**{**_DEFAULTS, **given})
    auth: Any = {"api_key": its.auth} if isinstance(its.auth, str) else its.auth
    model = its.model or (its.default_model["chat"] if isinstance(its.default_model, dict) else its.default_model)
    if wrong := [*(given.keys() - _DEFAULTS), *({its.model_type} - {"chat"}), *([] if model else ["no model"])]:
        raise ValueError(f'set_settings("OpenAICompatible", ...): {wrong} cannot be used; settings are {[*_DEFAULTS]}')
    http = {"proxy": its.proxy, "timeout": tuple(its.timeout.values()), **its.client_options}
    options: Any = {"api_key": auth.get("api_key", its.api_key) or "", "extra_body": auth.get("body"), "http": http}
    asked, more = _sorted_options(its.request_options)
    options |= {**asked, "extra_headers": {**its.headers, **auth.get("headers", {}), **asked.get("extra_headers", {})}}
    options["extra_body"] = {**asked.get("extra_body", {}), **more, **(auth.get("body") or {})} or None
    return OpenAIProvider(model, base_url=its.base_url, url=its.full_url, **options)


def _sorted_options(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of a request in two parts: those that the SDK or the engine knows, and those for the server alone.

    `model`, `messages` and `stream` are left out: the settings name the model, the prompt holds the messages, and every
    answer is streamed.
    """
    from openai.resources.chat import AsyncCompletions  # here, as the provider's own import of the SDK is: it is slow

    known = {"structured", *inspect.signature(AsyncCompletions.create).parameters} - {"self"}
    given = {name: it for name, it in given.items() if name not in ("model", "messages", "stream")}
    more = {name: it for name, it in given.items() if name not in known}
    return {name: it for name, it in given.items() if name in known}, more


def _with(whole: Any, keys: tuple[str | int, ...], value: Any) -> Any:
    """A copy of an answer with a value at a path. Parts that are not on the path are not copied."""
    if not keys:
        return value
    key, *rest = keys
    if isinstance(key, int):
        items: list[Any] = [*whole] if isinstance(whole, list) else []
        items += [None] * (key + 1 - len(items))
        items[key] = _with(items[key], tuple(rest), value)
        return items
    held: dict[str, Any] = whole if isinstance(whole, dict) else {}
    return {**held, key: _with(held.get(key), tuple(rest), value)}


class ModelResponse(Response):
    """The answer of a model, with Agently's methods. Without `.output()` the data of the answer is its text."""

    result = property(lambda self: self)

    async def get_async_generator(self, type: Any = "delta", **options: Any) -> AsyncGenerator[Any, None]:
        known: Any = {None: "delta", "streaming_parse": "instant"}.get(type, type)
        whole: Any = None
        async with aclosing(super().get_async_generator(known, **options)) as items:
            async for item in items:
                if isinstance(item, Event):
                    if not item.keys:  # the event of the whole answer, or the one of a reset
                        whole = None if item.event_type == "reset" else whole
                        continue
                    whole = _with(whole, item.keys, item.value)
                    yield StreamingData(*(getattr(item, name) for name in _FIELDS[:-1]), whole)
                elif isinstance(item, tuple) and item[0] == "original_delta":
                    yield (item[0], item[1].to_json(indent=None))
                else:
                    yield item if isinstance(item, str | tuple) else item.to_json(indent=None)

    async def async_get_data(self, *, type: Any = "parsed", **options: Any) -> Any:
        """Wait for the whole answer and return its data, or its text without `.output()`.

        `type="all"` returns a dict with the text, the data, the object and the meta data.
        """
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
        """Wait for the whole answer and return it as an object.

        The object has the type given to `.output()`; for an output described by a dict it has the keys as attributes.
        """
        made = await super().async_get_data_object(**options)
        return made if self.output and self.output.typed else attributes(made)


@delegates("settings", "set_settings", "load_settings")
@delegates("_response", "get_text", "async_get_text", "get_data", "async_get_data", "get_data_object", "get_meta",
           "async_get_data_object", "async_get_meta", "get_generator", "get_async_generator")  # fmt: skip
class Agent:
    """Collects the parts of a prompt in a chain of calls: `agent.input(...).output(...).start()`.

    `get_response()`, and each method that calls it, sends them and begins a new chain.
    """

    def __init__(self, name: str | None = None, parent: "Agent | None" = None) -> None:
        self.id = uuid4().hex
        self.name, self.settings = name or self.id[:7], Settings(parent.settings if parent else GLOBAL)
        self.always = Settings(parent and parent.said)
        self.said = Settings(self.always)

    def create_request(self, name: str | None = None) -> "Agent":
        return Agent(name or self.name, self)

    def set_request_prompt(self, slot: str, value: Any, mappings: Any = None, *, always: bool = False) -> "Agent":
        """Set one part of the prompt for the next request, or with `always` for all later requests.

        `mappings` holds values by name, which replace `${name}` in `value`. Messages for "chat_history" are added to
        those that were set before; if they begin with the last ones of those, these count once.
        """
        level, said = self.always if always else self.said, filled(value, mappings or {})
        if slot == _HISTORY:
            said = joined(level.data.get(slot, []), [] if said is None else history_of(said))
        level.set_settings(slot, said)
        return self

    def remove_request_prompt(self, slot: str, *, always: bool = False) -> "Agent":
        """Remove one part of the prompt for the next request, or with `always` for all later requests."""
        (self.always if always else self.said).data.pop(slot, None)
        return self

    def set_chat_history(self, chat_history: Any) -> "Agent":
        """Set the earlier messages that come before every request: `{"role": ..., "content": ...}`."""
        self.always.data[_HISTORY] = history_of(chat_history)
        return self

    def add_chat_history(self, chat_history: Any) -> "Agent":
        """Add a message, or a list of them, to the earlier messages of every request."""
        self.always.data[_HISTORY] = [*self.always.data.get(_HISTORY, []), *history_of(chat_history)]
        return self

    def reset_chat_history(self) -> "Agent":
        """Remove the earlier messages."""
        return self.set_chat_history([])

    async def async_streaming_print(self) -> None:
        """Send the request and print the answer as it arrives."""
        print()  # noqa: T201 - what it is for
        async for delta in self._response.get_async_generator(type="delta"):
            print(delta, end="", flush=True)  # noqa: T201
        print()  # noqa: T201

    def get_prompt_text(self) -> str:
        return "\n\n".join(
            str(message["content"]) for message in self._request(self._endpoint()).to_messages(ask_for_json=True)
        )

    def get_response(self) -> ModelResponse:
        """Make the response to the collected prompt.

        Raises `KeyError` if the prompt is empty, and `ValueError` for settings that cannot be used.
        """
        endpoint = self._endpoint()
        request = self._request(endpoint)
        provider = _provider(json.dumps(endpoint))
        self.said = Settings(self.always)
        style = self.settings.get("response.streaming_parse_path_style", "dot")
        return ModelResponse(lambda: provider.open(request), output=request.described, path_style=style,
                             constrained=provider.constrained, stall_timeout=None,
                             first_token_timeout=None)  # fmt: skip

    def _endpoint(self) -> dict[str, Any]:
        options = {"request_options": self.said.get("options", {})}
        return reduce(merged, (*(self.settings.get(name, {}) for name in _NAMES), options), _DEFAULTS)

    def _request(self, endpoint: dict[str, Any]) -> Request:
        said: dict[str, Any] = {name: it for name, it in self.said.get().items() if it not in (None, "", [], {})}
        said.pop(_HISTORY, None)
        system = [str(said.pop(name)) for name in _SYSTEM if name in said]
        given, attached, _ = said.pop("output", None), said.pop("attachment", ()), said.pop("options", None)
        if not (said or given or attached):
            raise KeyError("Prompt requires at least one of 'input', 'info', 'instruct', 'output', 'attachment'.")
        if isinstance(output := output_of(given), TextOutput):
            said["output requirement"], output = str(output), None
        earlier = messages_of(self._history(), rich=endpoint["rich_content"], strict=endpoint["strict_role_orders"])
        return Request(tuple(earlier), "\n\n".join(system) or None, said, output, tuple(attached))

    def _history(self) -> list[dict[str, Any]]:
        """The earlier messages of this request, then those of its agent."""
        level: Settings | None = self.said
        history = list[dict[str, Any]]()
        while level is not None:
            earlier = level.data.get(_HISTORY, [])
            if history[: len(earlier)] != earlier:  # else the request repeats all of it and adds to it
                history = joined(history, earlier)
            level = level.parent
        return history

    _response, get_result = property(get_response), get_response
    start, async_start = delegate("_response", "get_data"), delegate("_response", "async_get_data")
    set_agent_prompt = partialmethod(set_request_prompt, always=True)
    remove_agent_prompt = partialmethod(remove_request_prompt, always=True)
    streaming_print = twin("async_streaming_print")


for _slot in (*_SYSTEM, "examples", "info", "instruct", "input", "output", "attachment", "options"):
    setattr(Agent, _slot, partialmethod(Agent.set_request_prompt, _slot))
