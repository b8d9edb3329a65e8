"""Agents: what `Agently.create_agent()` gives, over the requests and responses of `triggerflow.models`."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import lru_cache
from typing import Any

from triggerflow.models import MissingExtraError, Request, Response
from triggerflow.models.instant import ResetEvent
from triggerflow.models.openai import OpenAIProvider

from .adapt import delegate
from .settings import GLOBAL, Settings

try:
    from openai import Timeout
except ImportError:
    raise MissingExtraError("agents need the OpenAI SDK: pip install 'triggerflow-agently[openai]'") from None

#: The settings of the model go by all of these names; where two of them are set, the later one counts.
_NAMES = ("plugins.ModelRequester.OpenAICompatible", "OAIClient", "OpenAI", "OpenAICompatible")
_PATIENCE = {"connect": 30.0, "read": 600.0, "write": 30.0, "pool": 30.0}


@lru_cache(maxsize=32)
def _provider(settings: str) -> OpenAIProvider:
    """The endpoint that these settings describe; one for all that describe the same, for it holds connections."""
    found: dict[str, Any] = json.loads(settings)
    given: Any = found.pop("auth", None) or {}
    auth: dict[str, Any] = {"api_key": given} if isinstance(given, str) else given
    key = found.pop("api_key", None) or auth.get("api_key") or "none"  # a server of one's own asks for none
    options: dict[str, Any] = {"structured": "prompt", **found.pop("request_options", {})}
    options["extra_headers"] = {**found.pop("headers", {}), **auth.get("headers", {})}
    options["extra_body"] = auth.get("body")
    options["timeout"] = Timeout(**{**_PATIENCE, **found.pop("timeout", {})})
    url, whole = found.pop("base_url", None), found.pop("full_url", "")
    model, kind, _ = found.pop("model", None), found.pop("model_type", "chat"), found.pop("stream", True)
    if model is None or kind != "chat" or found:
        wrong = f"model_type {kind!r}" if kind != "chat" else f"the settings {[*found]}" if found else "no model"
        raise ValueError(f'Agently.set_settings("OpenAICompatible", ...): {wrong} cannot be used; say "base_url",'
                         ' "model", "auth" and, if need be, "headers", "timeout", "request_options"')  # fmt: skip
    return OpenAIProvider(model, base_url=whole.removesuffix("/chat/completions") or url, api_key=key, **options)


class ModelResponse(Response):
    """An answer, read as Agently's programs do. `described`: by `.output()`; if not it is text."""

    described = False

    @property
    def result(self) -> "ModelResponse":
        """The response itself: it reads the same way."""
        return self

    async def get_async_generator(self, type: Any = "delta", **options: Any) -> AsyncGenerator[Any, None]:
        """Yield the answer while it is written; "instant" is also called "streaming_parse", "original" is JSON text."""
        known = "instant" if type == "streaming_parse" else type
        async with aclosing(super().get_async_generator(known, **options)) as items:
            async for item in items:
                if type != "original":
                    yield item
                elif not isinstance(item, ResetEvent):
                    yield item.to_json(indent=None)

    async def async_get_data(self, **options: Any) -> Any:
        """Wait for the end; return the data that `.output()` describes, or the text."""
        if not self.described and options.get("type", "parsed") == "parsed":
            return await self.async_get_text()
        return await super().async_get_data(**options)


def _slot(name: str) -> Any:
    """A method that says something, for the next answer or, `always`, for all that follow."""

    def say(self: "Agent", value: Any, *, always: bool = False) -> "Agent":
        for said in (self.said, self.always) if always else (self.said,):
            old: Any = said.get(name)
            said[name] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        return self

    return say


def _ask(method: str) -> Any:
    """A method of the response to what was said."""

    def ask(self: "Agent", *args: Any, **options: Any) -> Any:
        return getattr(self.get_response(), method)(*args, **options)

    return ask


class Agent:
    """Collects in a chain of calls what to say to a model. `get_response()` and all that read one begin a new chain."""

    def __init__(self, name: str | None = None) -> None:
        self.name, self.settings = name, Settings(GLOBAL)
        self.said, self.always = dict[str, Any](), dict[str, Any]()

    set_settings, load_settings = delegate("settings", "set_settings"), delegate("settings", "load_settings")
    role, system, rule = _slot("role"), _slot("system"), _slot("rule")
    user_info, examples, info = _slot("user_info"), _slot("examples"), _slot("info")
    instruct, input, output, options = _slot("instruct"), _slot("input"), _slot("output"), _slot("options")

    def get_response(self) -> ModelResponse:
        """The answer to what was said. Raises `ValueError` for settings that name no model, or an unknown setting."""
        said, self.said = self.said, dict(self.always)
        endpoint: dict[str, Any] = {}
        for name in _NAMES:
            endpoint |= self.settings.get(name, {})
        endpoint["request_options"] = {**endpoint.get("request_options", {}), **said.get("options", {})}
        provider, request = _provider(json.dumps(endpoint, sort_keys=True)), Request()
        if system := [str(said[name]) for name in ("role", "system", "rule") if name in said]:
            request = request.system("\n\n".join(system))
        if about := {name: said[name] for name in ("user_info", "examples", "info") if name in said}:
            request = request.info(about["info"] if [*about] == ["info"] else about)
        for name in ("instruct", "input", "output"):
            request = getattr(request, name)(said[name]) if name in said else request
        style = self.settings.get("response.streaming_parse_path_style", "dot")
        response = ModelResponse(lambda: provider.open(request), output=request.described, path_style=style,
                                 constrained=provider.constrained, stall_timeout=None)  # fmt: skip
        response.described = request.described is not None
        return response

    start, async_start = _ask("get_data"), _ask("async_get_data")
    get_text, async_get_text = _ask("get_text"), _ask("async_get_text")
    get_data, async_get_data = start, async_start
    get_data_object, async_get_data_object = _ask("get_data_object"), _ask("async_get_data_object")
    get_meta, async_get_meta = _ask("get_meta"), _ask("async_get_meta")
    get_generator, get_async_generator = _ask("get_generator"), _ask("get_async_generator")
