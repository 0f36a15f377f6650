"""Who may use the API: the host that a request names, the token, and where a change comes from."""

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from streamcanary.web.allowed_hosts import AllowedHosts, host_name
from streamcanary.web.config import WebConfig
from streamcanary.web.health import health_routes
from streamcanary.web.web_server import WebServer
from web.test_web_api import SILENCE, TOKEN, Book, served

WRONG_CREDENTIALS = [
    {},
    {"Authorization": "Bearer nonsense"},
    {"Authorization": f"Bearer {TOKEN}0"},
    {"Authorization": f"Bearer {TOKEN[:-1]}"},
    {"Authorization": f"Basic {TOKEN}"},
    {"Authorization": "Bearer"},
    {"Authorization": b"Bearer \xff\xfe"},
]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/incidents"),
        ("HEAD", "/api/v1/incidents"),
        ("GET", "/api/v1/silences"),
        ("POST", "/api/v1/silences"),
        ("DELETE", "/api/v1/silences/x"),
    ],
)
async def test_every_request_to_the_api_requires_the_configured_token(method: str, path: str) -> None:
    """Without the token the response is 401, and nothing of the daemon is read or changed."""
    book = Book()
    async with served(book, token=TOKEN) as http:
        for headers in WRONG_CREDENTIALS:
            body = SILENCE if method == "POST" else None
            answer = await http.request(method, path, json=body, headers=headers)
            assert (401, "Bearer") == (answer.status_code, answer.headers["www-authenticate"])
            assert method == "HEAD" or "application/problem+json" == answer.headers["content-type"]
    assert {} == book.made


async def test_the_token_permits_reads_and_changes() -> None:
    """With the token, reads and changes succeed; the name of the scheme may have any case."""
    async with served(token=TOKEN) as http:
        for scheme in ("Bearer", "bearer"):
            shown = {"Authorization": f"{scheme} {TOKEN}"}
            assert 200 == (await http.get("/api/v1/incidents", headers=shown)).status_code
            assert 201 == (await http.post("/api/v1/silences", json=SILENCE, headers=shown)).status_code


async def test_a_token_with_other_characters_than_ascii_is_accepted() -> None:
    """A token is compared by its UTF-8 bytes."""
    token = "schlüsselschlüssel"
    async with served(token=token) as http:
        shown = {"Authorization": f"Bearer {token}".encode()}
        assert 200 == (await http.get("/api/v1/incidents", headers=shown)).status_code


async def test_changes_require_a_token_beyond_loopback() -> None:
    """Without a token reads are open, and the response to a change names the setting that is missing."""
    async with served(host="0.0.0.0") as http:  # noqa: S104 - the test connects through loopback
        assert 200 == (await http.get("/api/v1/silences")).status_code
        answer = await http.post("/api/v1/silences", json=SILENCE)
    assert (403, True) == (answer.status_code, "web.token_file" in answer.json()["detail"])


@pytest.mark.parametrize("web", [{}, {"token": TOKEN}, {"host": "0.0.0.0"}])  # noqa: S104 - reached through loopback
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:9465", "localhost.evil.example", "192.0.2.7"])
async def test_a_request_that_names_an_unknown_host_is_rejected(web: dict[str, Any], host: str) -> None:
    """A website that lets its own name resolve to the daemon can neither read nor change, even with the token."""
    book = Book()
    async with served(book, **web) as http:
        headers = {"Host": host, "Authorization": f"Bearer {TOKEN}"}
        read = await http.get("/api/v1/incidents", headers=headers)
        changed = await http.post("/api/v1/silences", json=SILENCE, headers=headers)
    message = f"the host {host} is not known; use localhost, or add it to web.allowed_hosts"
    assert [(421, message)] * 2 == [(one.status_code, one.json()["detail"]) for one in (read, changed)]
    assert {} == book.made


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:9465", "127.9.9.9", "[::1]:9465"])
async def test_names_of_loopback_are_known(host: str) -> None:
    """The names of this machine may be used with any port, which a forwarded port changes."""
    async with served() as http:
        assert 200 == (await http.get("/api/v1/incidents", headers={"Host": host})).status_code
        assert 201 == (await http.post("/api/v1/silences", json=SILENCE, headers={"Host": host})).status_code


async def test_configured_hosts_are_known() -> None:
    """``allowed_hosts`` has names, domains and addresses; a change without token still has to name this machine."""
    hosts = ["canary.example", "*.monitoring.svc", "192.0.2.7"]
    async with served(allowed_hosts=hosts) as http:
        for host in ("canary.example:443", "Canary.Example.", "one.monitoring.svc", "192.0.2.7:80"):
            assert 200 == (await http.get("/api/v1/incidents", headers={"Host": host})).status_code
            assert 403 == (await http.post("/api/v1/silences", json=SILENCE, headers={"Host": host})).status_code
        for host in ("www.canary.example", "monitoring.svc", "xmonitoring.svc", "192.0.2.8"):
            assert 421 == (await http.get("/api/v1/incidents", headers={"Host": host})).status_code


async def test_health_endpoints_answer_any_host_without_token() -> None:
    """The kubelet uses the address of the pod, and has no token."""
    config = WebConfig.model_validate({"port": 0, "token": TOKEN})
    async with WebServer(config, health_routes({"config": lambda: None})) as server, asyncio.timeout(10):
        assert server.address is not None
        for path in ("livez", "readyz"):
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(f"GET /{path} HTTP/1.1\r\nHost: 10.244.1.17:9465\r\n\r\n".encode())
            assert b"HTTP/1.1 200 OK\r\n" == await reader.readline()
            writer.close()


async def test_a_request_without_host_is_rejected() -> None:
    """HTTP/1.0 allows a request without ``Host``; the API does not."""
    async with served() as http, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
        writer.write(b"GET /api/v1/incidents HTTP/1.0\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 421 ")
        writer.close()


@pytest.mark.parametrize(
    ("bound", "local_address", "host", "is_allowed"),
    [
        ("0.0.0.0", "10.0.0.5", "10.0.0.5:9465", True),  # noqa: S104 - not bound
        ("0.0.0.0", "10.0.0.5", "10.0.0.6:9465", False),  # noqa: S104 - not bound
        ("::", "::ffff:10.0.0.5", "10.0.0.5", True),
        ("::", "fd00::5", "[fd00:0:0::5]:9465", True),
        ("::", "fd00::5", "[fd00::6]", False),
        ("10.0.0.5", "10.0.0.5", "10.0.0.5", True),
        ("canary.internal", "10.0.0.5", "canary.internal", True),
        ("127.0.0.1", None, "", False),
        ("127.0.0.1", None, "evil@localhost", False),
        ("127.0.0.1", None, "localhost@evil", False),
        ("127.0.0.1", None, "localhost:80:80", False),
        ("127.0.0.1", None, "localhost:x", False),
        ("127.0.0.1", None, "[::1", False),
        ("127.0.0.1", None, "2130706433", False),
    ],
)
def test_the_bound_address_is_a_known_host(bound: str, local_address: str | None, host: str, is_allowed: bool) -> None:
    """The address to which the client has connected is known; invalid headers are not."""
    assert is_allowed is AllowedHosts(bound).allows(host, local_address)


@pytest.mark.parametrize(
    ("host", "name"), [("A.b.:80", "a.b"), ("[::1]", "::1"), ("[::1]:8", "::1"), ("a:b", ""), ("", "")]
)
def test_the_name_in_a_host_header_is_found(host: str, name: str) -> None:
    """Case, port, brackets and a last dot are removed; an invalid header has no name."""
    assert name == host_name(host)


@pytest.mark.parametrize("host", ["https://a.b", "a.b:80", "a b", "", "*", "*.", "a..b", "*.*.a", "a/b", "x" * 254])
def test_an_invalid_allowed_host_is_a_config_error(host: str) -> None:
    """The message says what to write."""
    with pytest.raises(ValidationError, match="must be a host name or an IP address without scheme and port"):
        WebConfig.model_validate({"allowed_hosts": [host]})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "localhost", "Origin": "http://localhost"}, 201),
        ({"Host": "localhost"}, 201),
    ],
)
async def test_cross_site_requests_of_a_browser_are_rejected(headers: dict[str, str], status: int) -> None:
    """So is the content type of a form, which other origins can send without asking; programs send no origin."""
    async with served() as http:
        answer = await http.post("/api/v1/silences", json=SILENCE, headers=headers)
    assert status == answer.status_code


@pytest.mark.parametrize("web", [{"token": "short"}, {"token": TOKEN, "token_file": "/a"}])
def test_a_short_token_or_two_tokens_are_rejected(web: dict[str, Any]) -> None:
    """A token shorter than 16 characters, and both ``token`` and ``token_file``, are errors."""
    with pytest.raises(ValueError, match=r"too short|both token"):
        WebConfig.model_validate(web)
