"""The addresses of servers: what an address may be, and where a token may be sent."""

from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from ..backend import BadRequest
from ..wire.hosts import is_loopback


def read_addresses(urls: str | Sequence[str], *, has_token: bool, allow_http: bool) -> list[str]:
    """The addresses without a slash at the end. Raises `BadRequest` for a text that is no address of a server, and for
    one to which a token must not be sent."""
    given = [urls] if isinstance(urls, str) else list(urls)
    if not given:
        raise BadRequest("a client needs the address of a server, such as http://127.0.0.1:8000")
    return [_read(url, has_token, allow_http) for url in given]


def _read(url: str, has_token: bool, allow_http: bool) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for one that is no number
    except (ValueError, AttributeError):
        raise BadRequest("an address of a server is a text such as http://127.0.0.1:8000") from None
    if parts.username is not None or parts.password is not None:
        raise BadRequest("an address of a server has no name and password in it; pass token=")
    shown = f"{parts.scheme}://{parts.hostname or ''}"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadRequest(f"an address of a server begins with http:// or https:// and a host; this one is {shown!r}")
    if parts.query or parts.fragment:
        raise BadRequest(f"an address of a server ({shown}) has no query and no fragment; a token is passed as token=")
    if has_token and parts.scheme == "http" and not allow_http and not _is_this_machine(parts):
        raise BadRequest(
            f"a token would go to {shown} unencrypted, where anybody on the way can read it; use https://, or "
            "allow_http=True if the way is safe"
        )
    return url.rstrip("/")


def _is_this_machine(parts: SplitResult) -> bool:
    host = (parts.hostname or "").rstrip(".")
    return host.endswith(".localhost") or is_loopback(host)
