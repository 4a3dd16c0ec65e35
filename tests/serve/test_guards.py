"""Who may ask: tokens, names, pages of other sites; and what a browser is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from whelp.base.errors import ConfigError
from whelp.serve import ServeConfig

from .conftest import Serve
from .fakes import make_model


def test_a_token(serve: Serve) -> None:
    """Without it, or with another, 401 everywhere but for the page's files and the sign of life."""
    client = serve(token="right-one").client
    for path in ("/v1/models", "/api/state", "/metrics", "/v1/nothing"):
        assert client.get(path).status_code == 401
        assert (
            client.get(path, headers={"authorization": "Bearer wrong"})
            .json()["error"]["message"]
            .startswith("The token is wrong")
        )
        assert client.get(path, headers={"authorization": "Basic right-one"}).status_code == 401
        assert client.get(path, headers={"authorization": "Bearer rïght-one".encode("latin-1")}).status_code == 401
    answer = client.post("/v1/completions", json={"prompt": "x"})
    assert answer.json()["error"]["message"].startswith("There is no token, but this server needs one")
    assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/", "/page/main.js", "/health", "/openapi.json"):
        assert client.get(path).status_code == 200
    assert client.get("/v1/models", headers={"authorization": "bearer right-one"}).status_code == 200


def test_other_machines_need_a_token() -> None:
    """An address that others reach is no setting without one."""
    with pytest.raises(ConfigError, match=r"host is 0\.0\.0\.0, which other machines reach, but there is no token"):
        ServeConfig(host="0.0.0.0")
    with pytest.raises(ConfigError, match="token holds spaces"):
        ServeConfig(token="a b")
    with pytest.raises(ConfigError, match="an origin is a scheme and a host"):
        ServeConfig(cors_origins=["example.org"])
    assert ServeConfig(host="0.0.0.0", token="x").token == "x"


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8000", "LOCALHOST", "192.168.1.5:80", "mine.example"])
def test_names_of_the_server(serve: Serve, host: str) -> None:
    """Its own names, numbers, and those that were allowed."""
    running = serve(allowed_hosts=["Mine.example"])
    assert running.client.get("/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[", "a b", "127.0.0.1@evil.example:1x"]
)
def test_a_foreign_name_is_refused(serve: Serve, host: str) -> None:
    """A page elsewhere that points its name at this address gets nothing, not even the page."""
    running = serve()
    for path in ("/", "/v1/models"):
        answer = running.client.get(path, headers={"host": host})
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "host_not_allowed"


def test_pages_of_other_sites(serve: Serve) -> None:
    """They may not send; the page's own origin may; nobody is told that others may read."""
    running = serve()
    for origin, status in ((running.url, 200), ("https://evil.example", 403), ("null", 403), (None, 200)):
        headers = {"origin": origin} if origin else {}
        answer = running.post("/v1/completions", {"prompt": "x"}, headers=headers)
        assert answer.status_code == status
        assert "access-control-allow-origin" not in answer.headers


def test_an_origin_that_was_allowed(serve: Serve) -> None:
    """It is answered before it asks, and when it asks; another is not."""
    running = serve(cors_origins=["https://mine.example"], token="t")
    asking = {"origin": "https://mine.example", "access-control-request-method": "POST"}
    assert running.client.options("/v1/completions", headers=asking).headers["access-control-allow-origin"] == asking["origin"]
    headers = {"origin": "https://mine.example", "authorization": "Bearer t"}
    answer = running.post("/v1/completions", {"prompt": "x"}, headers=headers)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://mine.example")
    other = running.post("/v1/completions", {"prompt": "x"}, headers={**headers, "origin": "https://evil.example"})
    assert other.status_code == 403


def test_a_browser_runs_nothing_but_the_page(serve: Serve) -> None:
    """No inline script, no other host, no frame; on pages, answers and errors."""
    client = serve().client
    for path in ("/", "/page/main.js", "/v1/models", "/nothing"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
    page = client.get("/").text
    assert "style=" not in page
    assert "onclick" not in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize(
    "path",
    [
        "/page/../app.py",
        "/page/%2e%2e/app.py",
        "/page/..%2fapp.py",
        "/page//etc/passwd",
        "/etc/passwd",
        "/page/",
        "/v1",
        "/page/%00",
    ],
)
def test_no_other_file_is_given(serve: Serve, path: str) -> None:
    """404, in the same shape as every error."""
    running = serve()
    with running.open_socket() as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b'"code": "not_found"' in answer


def test_another_method(serve: Serve) -> None:
    """405, with those that there are."""
    answer = serve().client.get("/v1/completions")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json()["error"]["message"] == "The method is GET, but expected POST."


def test_files_of_the_page_are_kept_by_the_browser(serve: Serve) -> None:
    """Asked again with the mark of the version, it gets no second copy."""
    client = serve().client
    first = client.get("/page/style.css")
    assert first.headers["content-type"].startswith("text/css")
    again = client.get("/page/style.css", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_nothing_is_written(serve: Serve, tmp_path: Path) -> None:
    """A run folder that is served is as it was."""
    (tmp_path / "plan.json").write_text('{"plan": {"num_steps": 2}}')
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    before = {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]}
    running = serve(make_model(), run=tmp_path)
    for path in ("/", "/api/run", "/api/run/records", "/api/state"):
        assert running.client.get(path).status_code == 200
    assert {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]} == before
