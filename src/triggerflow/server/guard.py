"""Protection against other web pages: checks of the headers `Host`, `Origin` and `Sec-Fetch-Site`."""

from collections.abc import Collection, MutableMapping
from typing import Any
from urllib.parse import quote, urlsplit

from ..wire.hosts import is_loopback
from .inputs import Headers, refused


class Hosts:
    """The host names of a server.

    A page of another site can make a browser send requests to this machine, under a host name of the attacker that
    resolves to it (DNS rebinding). So requests with an unknown `Host` are refused, and so are those that a browser
    marks as coming from another site. There are no CORS headers, so that such a page cannot read an answer either.
    """

    def __init__(self, hosts: Collection[str]) -> None:
        self._all = "*" in hosts
        self._known = {host.lower().rstrip(".") for host in hosts}

    def check(self, headers: Headers, *, follows_link: bool = False) -> None:
        """Raise `Refused` for a request with an unknown `Host`, or from a page of another site. With `follows_link` a
        person may have come here by a link on another site."""
        host = headers.get("host") or ""
        if not self._all and not self._knows(host):
            raise refused("wrong_host", "this server is not called by this name; see `hosts` of create_app")
        site = headers.get("sec-fetch-site")
        if follows_link and (headers.get("sec-fetch-mode") or "").lower() == "navigate":
            site = None
        if site is not None and site.lower() not in ("same-origin", "none"):
            raise refused("not_allowed", "a page of another site may not call this server")
        origin = headers.get("origin")
        if origin is not None and not _same(origin, host):
            raise refused("not_allowed", "a page of another origin may not call this server")

    def _knows(self, host: str) -> bool:
        name = _name(host)
        return name is not None and (name in self._known or is_loopback(name))


def _name(host: str) -> str | None:
    """The name in a `Host` header, without its port; None if the header is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port
    except ValueError:
        return None
    name = (parts.hostname or "").rstrip(".")
    plain = host.lower().partition("]")[0].removeprefix("[") if host.startswith("[") else host.lower().partition(":")[0]
    if parts.username is not None or parts.path or parts.query or plain.rstrip(".") != name or (port or 0) < 0:
        return None
    return name


def _same(origin: str, host: str) -> bool:
    """Whether an origin is that of the server itself. The scheme is not compared, since a proxy may terminate TLS."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower() != ""


def path_of(scope: MutableMapping[str, Any]) -> str:
    """The percent-encoded path of a request, relative to the path under which the application is mounted."""
    raw = scope.get("raw_path")
    path = raw.decode("latin-1") if raw else quote(scope["path"])
    path = path.partition("?")[0]
    mounted = scope.get("root_path", "").rstrip("/").count("/")
    return "/" + "/".join(path.split("/")[1 + mounted :])
