"""OpenAI, and every server that speaks its chat or its responses protocol: llama.cpp, Ollama, vLLM, compatible vendors.

Needs the extra `openai`. The SDK is imported when the first provider is made, not with this module.
"""

from collections.abc import Mapping
from typing import Any, Literal

from .errors import MissingExtraError
from .outputs import Output
from .request import Request
from .sources import Clients, Source


class OpenAIProvider:
    """A model behind the chat completions API or, with `api="responses"`, behind OpenAI's Responses API.

    `base_url` and `api_key` as in the SDK, which reads OPENAI_BASE_URL and OPENAI_API_KEY by default.
    `structured`: how the description of the answer is sent. "json_schema" lets the server constrain the text, by a
    schema in the strict dialect (see `Output.schema`) if it can be written in it; "full_json_schema" sends all
    of the schema, for servers that take any, such as llama.cpp and vLLM. "json_object" only asks the server for JSON,
    and "prompt" asks the model in words.
    `api_key=""`: for servers without a key. `url`: the address of requests, if it is not `/chat/completions`, or
    `/responses`, behind `base_url`. `http`: options of the HTTP client, such as `proxy`, `timeout` (seconds), `verify`.
    `client`: your own `AsyncOpenAI`, which replaces all of these; it is used on every loop, and not closed.
    Other options are added to every request: `temperature`, `max_tokens` (or `max_output_tokens`) and so on.

    Raises `MissingExtraError` if the SDK is not installed. The SDK's own retries are off: the response retries.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        url: str | None = None,
        api: Literal["chat", "responses"] = "chat",
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
        if api == "responses" and not hasattr(AsyncOpenAI, "responses"):
            raise MissingExtraError('api="responses" needs a later version of the OpenAI SDK: pip install -U openai')
        self._model = model
        self._api = api
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
        # Describe the output in the prompt even if the server constrains the text: not every server shows the schema,
        # with its descriptions, to the model.
        messages = request.to_messages(ask_for_json=True)
        format = self._format(request.described)
        if self._api == "responses":
            options = dict(self._options)
            if format is not None:
                # The same format, with the fields of the schema beside its type.
                flat = {"type": format["type"], **format.get("json_schema", {})}
                options["text"] = {**options.get("text", {}), "format": flat}
            messages = [{**message, "content": _for_responses(message["content"])} for message in messages]
            return await client.responses.create(model=self._model, input=messages, stream=True, **options)
        options = {"stream_options": {"include_usage": True}, **self._options}
        if format is not None:
            options["response_format"] = format
        return await client.chat.completions.create(model=self._model, messages=messages, stream=True, **options)

    def _format(self, output: Output | None) -> dict[str, Any] | None:
        """The format that the server shall give the answer."""
        if output is None or self._structured == "prompt":
            return None
        if self._structured == "json_object":
            return {"type": "json_object"}
        full = self._structured == "full_json_schema"
        schema, strict = (output.full_schema, True) if full else (output.schema, output.strict)
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": strict}}

    async def aclose(self) -> None:
        """Close the connections that were opened on the running loop."""
        await self._clients.aclose()


def _for_responses(content: Any) -> Any:
    """The content of a message, with the parts of the chat API as those of the Responses API."""
    return content if isinstance(content, str) else [_part(part) for part in content]


def _part(part: Mapping[str, Any]) -> Mapping[str, Any]:
    if part.get("type") == "text":
        return {"type": "input_text", "text": part["text"]}
    if part.get("type") == "image_url":
        image = part["image_url"]
        image = {"url": image} if isinstance(image, str) else image
        return {"type": "input_image", "image_url": image["url"], "detail": image.get("detail", "auto")}
    if part.get("type") == "file":
        return {"type": "input_file", **part["file"]}
    return part
