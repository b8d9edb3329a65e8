"""The page: the files that `make page` builds from page/, served at the root of the application.

They have no data, so they need no token: the page asks the API for everything, with the token of whoever looks at it.
"""

import gzip
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import PurePath
from typing import NamedTuple

from .inputs import Headers, refused

#: The content types of the files of the page, by the ends of their names.
KINDS: dict[str, bytes] = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".svg": b"image/svg+xml",
}
ROOT = "/"

#: What a browser may do with the page: run and load nothing but what comes from this server, and show it in no frame.
POLICY = b"default-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
HEADERS: list[tuple[bytes, bytes]] = [
    (b"content-security-policy", POLICY),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"vary", b"accept-encoding"),
]


class PageFile(NamedTuple):
    """One file of the page, as it is sent."""

    kind: bytes
    plain: bytes
    packed: bytes
    mark: str

    def etag(self, packed: bool) -> str:
        """Its entity tag: each encoding has one of its own."""
        return f'"{self.mark}{"-gzip" if packed else ""}"'


def load() -> dict[str, PageFile]:
    """The files by their paths; index.html is the root. Empty if the page was not built."""
    folder = files("triggerflow.server").joinpath("static")
    found: dict[str, PageFile] = {}
    for file in folder.iterdir() if folder.is_dir() else ():
        kind = KINDS.get(PurePath(file.name).suffix)
        if kind is not None and file.is_file():
            body = file.read_bytes()
            mark = hashlib.sha256(body).hexdigest()[:32]
            path = ROOT if file.name == "index.html" else f"/{file.name}"
            found[path] = PageFile(kind, body, gzip.compress(body, 9, mtime=0), mark)
    return found


class Page:
    """Answers requests for the files of the page."""

    def __init__(self, found: Mapping[str, PageFile] | None = None) -> None:
        self._files = load() if found is None else found

    def has(self, path: str) -> bool:
        """Whether a path is that of a file of the page. Nothing else is read, whatever a path says."""
        return path == ROOT or path in self._files

    def answer(self, path: str, headers: Headers) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body for one of its files."""
        file = self._files.get(path)
        if file is None:
            raise refused("unknown_route", "the page was not built; `make page` does it in a clone")
        packed = _takes_gzip(headers.get("accept-encoding") or "")
        tag = file.etag(packed)
        own = [*HEADERS, (b"etag", tag.encode()), (b"cache-control", _freshness(path))]
        wanted = headers.get("if-none-match") or ""
        if wanted == "*" or tag in (it.strip().removeprefix("W/") for it in wanted.split(",")):
            return 304, own, b""
        own.append((b"content-type", file.kind))
        if packed:
            own.append((b"content-encoding", b"gzip"))
        return 200, own, file.packed if packed else file.plain


def _freshness(path: str) -> bytes:
    """How long a browser uses a file without asking: it is answered with 304 while the file is the same."""
    if path.startswith("/part-"):  # its name has the digest of what is in it
        return b"max-age=31536000, immutable"
    if path == "/icon.svg":  # a browser asks for it whenever the address changes, and the slider changes it often
        return b"max-age=86400"
    return b"no-cache"


def _takes_gzip(accepts: str) -> bool:
    for part in accepts.lower().split(","):
        name, *options = (it.strip() for it in part.split(";"))
        if name == "gzip":
            return not any(it.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for it in options)
    return False
