"""OpenAI, and every server that speaks its chat protocol: llama.cpp, Ollama, vLLM, compatible vendors.

Needs the extra `openai`. The SDK is imported when the first provider is made, not with this module.
"""

from collections.abc import Mapping
from typing import Any, Literal

from .clients import Clients
from .deltas import Source
from .errors import MissingExtraError
from .request import Request
from .schemas import Schema


class OpenAIProvider:
    """A model behind the chat completions API.

    `base_url` and `api_key` as in the SDK, which reads OPENAI_BASE_URL and OPENAI_API_KEY by default.
    `structured`: how the description of the answer is sent. "json_schema" lets the server constrain the text, by a
    schema in the strict dialect (see `Output.schema`) if it can be written in it; "full_json_schema" sends all
    of the schema, for servers that take any, such as llama.cpp and vLLM. "json_object" only asks the server for JSON,
    and "prompt" asks the model in words.
    `api_key=""`: for servers without a key. `url`: the address of requests, if it is not `/chat/completions` behind
    `base_url`. `http`: options of the HTTP client, such as `proxy`, `timeout` (seconds) and `verify`.
    `client`: your own `AsyncOpenAI`, which replaces all of these; it is used on every loop, and not closed.
    Other options are added to every request: `temperature`, `max_tokens` and so on.

    Raises `MissingExtraError` if the SDK is not installed. The SDK's own retries are off: the response retries.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        url: str | None = None,
        http: Mapping[str, Any] | None = None,
        structured: Literal["json_schema", "full_json_schema", "json_object", "prompt"] = "json_schema",
        client: Any = None,
        **options: Any,
    ) -> None:
        try:
            from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Omit
        except ImportError:
            raise MissingExtraError(
                "OpenAIProvider needs the OpenAI SDK: pip install 'triggerflow-engine[openai]'"
            ) from None
        self._model = model
        self._structured = structured
        if api_key == "":
            options["extra_headers"] = {"Authorization": Omit(), **options.get("extra_headers", {})}
        self._options: Mapping[str, Any] = options
        self._client = None if client is None else client.with_options(max_retries=0)

        async def readdress(request: Any) -> None:
            request.url = request.url.join(url or "")

        def connect() -> Any:
            hooks = {"request": [readdress] if url else []}
            return AsyncOpenAI(
                base_url=url or base_url,
                api_key="none" if api_key == "" else api_key,  # the SDK refuses an empty key
                http_client=DefaultAsyncHttpxClient(event_hooks=hooks, **(http or {})),
                max_retries=0,
            )

        self._clients = Clients(connect)

    @property
    def constrained(self) -> bool:
        """Whether the server makes the answer fit the JSON schema."""
        return self._structured in ("json_schema", "full_json_schema")

    async def open(self, request: Request) -> Source:
        """Send the request; return the SDK's stream of chunks."""
        client = self._client or self._clients.current()
        options: dict[str, Any] = {"stream_options": {"include_usage": True}, **self._options}
        output = request.described
        if output is not None and self._structured == "json_schema":
            options["response_format"] = _schema(output.schema, output.strict)
        elif output is not None and self._structured == "full_json_schema":
            options["response_format"] = _schema(output.full_schema, True)
        elif output is not None and self._structured == "json_object":
            options["response_format"] = {"type": "json_object"}
        # Describe the output in the prompt even if the server constrains the text: not every server shows the schema,
        # with its descriptions, to the model.
        messages = request.to_messages(ask_for_json=True)
        return await client.chat.completions.create(model=self._model, messages=messages, stream=True, **options)

    async def aclose(self) -> None:
        """Close the connections that were opened on the running loop."""
        await self._clients.aclose()


def _schema(schema: Schema, strict: bool) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": strict}}
