"""The HTTP server of a backend (extra `[server]`): see docs/guide/serving.md.

`create_app(flows, store)` makes an ASGI application, which can be mounted in another one. `Server` serves it with
uvicorn, and ends open streams when it stops.
"""

try:
    from .app import App, create_app
    from .running import Server
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn"):
        raise
    raise ImportError("the server needs starlette and uvicorn: pip install 'triggerflow-engine[server]'") from error

from .access import Auth, Grant, Scope, TokenFile, token_hash
from .limits import Limits

__all__ = ["App", "Auth", "Grant", "Limits", "Scope", "Server", "TokenFile", "create_app", "token_hash"]
