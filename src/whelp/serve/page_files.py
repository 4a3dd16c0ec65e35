"""The files of the page, read once: what is not among them cannot be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from whelp.base.hashing import hash_json
from whelp.serve.errors import ApiError

FOLDER = Path(__file__).with_name("page")
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class PageFile:
    """Contents, their type, and a name for this version of them."""

    content: bytes
    kind: str
    etag: str


def read_page() -> dict[str, PageFile]:
    """Every file of the page by its path in the address."""
    found = {}
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in _KINDS:
            content = path.read_bytes()
            found[f"/page/{path.name}"] = PageFile(content, _KINDS[path.suffix], f'"{hash_json(content.decode())[:16]}"')
    return {"/": found["/page/index.html"], **found}


class Page:
    """Endpoints of the page's files."""

    def __init__(self) -> None:
        self.files = read_page()

    async def file(self, request: Request) -> Response:
        """GET / and /page/NAME"""
        found = self.files.get(request.url.path)
        if found is None:
            raise ApiError(404, f"There is nothing at {request.url.path[:200]}.", code="not_found")
        headers = {"etag": found.etag, "cache-control": "no-cache", "content-type": found.kind}
        if request.headers.get("if-none-match") == found.etag:
            return Response(status_code=304, headers=headers)
        return Response(found.content, headers=headers)
