"""A model for scripts: a server on the loopback interface that speaks as a provider of chat completions does."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agently import Agently


class Model:
    """Answers each request with the next text, the last one for ever; with an HTTP error if `status` is not 200.

    `requests` are the bodies it got, `paths` and `headers` (lower case) what came with them.
    """

    def __init__(self, texts: tuple[str, ...], status: int, reasoning: str) -> None:
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        model, left = self, list(texts)

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: Any) -> None: ...

            def do_POST(self) -> None:
                model.paths.append(self.path)
                model.headers.append({name.lower(): value for name, value in self.headers.items()})
                model.requests.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                text = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status)
                self.send_header("content-type", "text/event-stream" if status == 200 else "application/json")
                self.end_headers()
                if status != 200:
                    self.wfile.write(b'{"error": {"message": "nope", "type": "x"}}')
                    return
                chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
                thoughts = [{"reasoning_content": it} for it in reasoning]
                pieces = [{"content": text[at : at + 4]} for at in range(0, len(text), 4)]
                for delta in ({"role": "assistant", "content": ""}, *thoughts, *pieces, None):
                    choice = {"index": 0, "delta": delta or {}, "finish_reason": None if delta else "stop"}
                    self.wfile.write(f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n".encode())
                usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
                self.wfile.write(f"data: {json.dumps({**chunk, 'choices': [], 'usage': usage})}\n\n".encode())
                self.wfile.write(b"data: [DONE]\n\n")

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        host, port = self.server.server_address[:2]
        self.url = f"http://{host!s}:{port}"
        self.settings = {"base_url": f"{self.url}/v1", "model": "m", "api_key": "k"}


@contextlib.contextmanager
def answering(*texts: str, status: int = 200, reasoning: str = "", **settings: Any) -> Iterator[tuple[Model, Any]]:
    """A model, and an agent that asks it."""
    model = Model(texts or ("hello world",), status, reasoning)
    thread = threading.Thread(target=model.server.serve_forever, args=[0.01])  # looks that often whether to stop
    thread.start()
    try:
        agent: Any = Agently.create_agent("n")
        agent.set_settings("OpenAICompatible", {**model.settings, **settings})
        yield model, agent
    finally:
        model.server.shutdown()
        thread.join()
        model.server.server_close()
