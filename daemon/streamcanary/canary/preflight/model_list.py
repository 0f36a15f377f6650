"""What the endpoint itself answers: whether it takes our key, and whether it knows the model."""

import difflib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec
from msgspec.structs import replace

from streamcanary.canary.openai_client import open_http
from streamcanary.canary.preflight.context import Walk
from streamcanary.canary.preflight.credentials import keyless
from streamcanary.canary.preflight.step_result import Finding, broken, good, untold
from streamcanary.canary.preflight.tls import explain_tls, find_objection
from streamcanary.client.core.fault_classification import fault_of_exception, fault_of_status, kind_of_code
from streamcanary.model.config_types.secret import scrub
from streamcanary.model.faults import Fault, FaultKind, Phase

_MOST_BYTES = 1024 * 1024
_MOST_COMPARED = 2000  # models that are looked at for one of a similar name
_ABSENT = frozenset({404, 405, 501})
_REMEDIES: Mapping[FaultKind, tuple[str, str]] = {
    FaultKind.AUTH_FAILED: (
        "the endpoint does not accept the key",
        "see whether the key is revoked, or belongs to another endpoint or project",
    ),
    FaultKind.PERMISSION_DENIED: (
        "the endpoint knows us, and forbids it",
        "see what the key may do, and from which networks and countries",
    ),
    FaultKind.RATE_LIMITED: ("the endpoint has had too many requests of ours", "ask less often, or raise the limit"),
    FaultKind.QUOTA_EXHAUSTED: ("the account has nothing left to spend", "look at its billing and its limits"),
    FaultKind.OVERLOADED: ("the endpoint is overloaded", "wait, and look at the provider's status page"),
    FaultKind.SERVER_ERROR: ("the endpoint is broken", "wait, and look at the provider's status page"),
    FaultKind.PROXY_FAILED: (
        "the proxy wants a user name and password",
        "put them into the proxy's address: http://user:password@host",
    ),
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP answer. ``value`` is its JSON, or ``None`` if it has none or is longer than what is read (1 MiB)."""

    status: int
    headers: httpx2.Headers
    value: Any
    whole: bool

    @property
    def html(self) -> bool:
        """Whether it is a web page."""
        return "html" in self.headers.get("content-type", "").lower()


async def list_models(walk: Walk) -> Finding:
    """Ask for the list of models with our key, which every account may see and which costs nothing."""
    try:
        answer = await _get(walk, "models")
    except (httpx2.HTTPError, OSError) as error:
        return await _lost(walk, error)
    return _signed(answer, _judge(walk, answer))


def late_list(walk: Walk) -> Finding:
    """Return that the answer did not come."""
    says = f"GET /models had no whole answer within {walk.timeout:g} s"
    return broken(FaultKind.HEADERS_TIMEOUT, says, "wait, and look at the provider's status page")


async def find_model(walk: Walk) -> Finding:
    """Look for the model in the list; if it is not there, ask for it by its name."""
    if walk.listed and walk.model in walk.listed:
        return good(f"{walk.model} is {_among(walk.listed)}")
    try:
        answer = await _get(walk, f"models/{quote(walk.model, safe='')}")
    except (httpx2.HTTPError, OSError) as error:
        return untold(f"it could not be asked for: {(await _lost(walk, error)).says}")
    return _signed(answer, _judge_model(walk, answer))


def late_find(walk: Walk) -> Finding:
    """Return that the answer did not come; the endpoint has answered before, so that breaks nothing."""
    return untold(f"GET /models/{walk.model} had no whole answer within {walk.timeout:g} s")


async def _get(walk: Walk, path: str) -> Answer:
    if walk.trust is None:
        raise RuntimeError("nothing is trusted yet")
    body = bytearray()
    async with open_http(walk.trust, walk.proxy) as client:
        address = f"{walk.target.base_url}/{path}"
        # No timeout of its own: the one of the whole step covers it.
        async with client.stream(
            "GET", address, headers=walk.headers, follow_redirects=False, timeout=None
        ) as response:
            async for piece in response.aiter_raw(_MOST_BYTES // 16):
                body += piece
                if len(body) > _MOST_BYTES:
                    break
    whole = len(body) <= _MOST_BYTES
    return Answer(
        status=response.status_code, headers=response.headers, value=_decode(body) if whole else None, whole=whole
    )


def _decode(body: bytearray) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _signed(answer: Answer, finding: Finding) -> Finding:
    request_id = answer.headers.get("x-request-id")
    return replace(finding, status=answer.status, request_id=scrub(request_id, limit=128) if request_id else None)


def _judge(walk: Walk, answer: Answer) -> Finding:
    status = answer.status
    if 300 <= status < 400:
        return _judge_redirect(answer)
    if status in _ABSENT:
        page = " (with a web page)" if answer.html else ""
        return untold(
            f"there is no list of models, HTTP {status}{page}", "if the run fails, too, check base_url's path"
        )
    if status >= 400:
        return _judge_error(walk, answer)
    if answer.html:
        says = "a web page answers, and not the API: a login page, or the wrong address"
        return broken(FaultKind.NOT_A_STREAM, says, "check base_url, and whether a gateway on the way wants a login")
    walk.listed = _names(answer.value)
    if walk.listed is None:
        why = "is not a list of models" if answer.whole else "is too long to be read whole"
        return untold(f"{'no key is wanted' if keyless(walk) else 'the key is not refused'}; what is answered {why}")
    count = "1 model is" if len(walk.listed) == 1 else f"{len(walk.listed)} models are"
    return good(f"{'no key is wanted' if keyless(walk) else 'the key is accepted'}; {count} listed")


def _judge_redirect(answer: Answer) -> Finding:
    # Without its query, which may carry a session.
    place = answer.headers.get("location", "elsewhere").partition("?")[0]
    if answer.status in (307, 308):  # these keep a POST a POST (RFC 9110, 15.4)
        return untold(f"HTTP {answer.status} points to {place}", "put the address that it leads to into base_url")
    says = f"HTTP {answer.status} points to {place}: a login page, or the wrong address"
    return broken(FaultKind.NOT_A_STREAM, says, "check base_url, and whether a gateway on the way wants a login")


def _judge_error(walk: Walk, answer: Answer) -> Finding:
    fault = _fault(walk, answer)
    if answer.status in (401, 403) and "missing scopes" in fault.message.lower():
        return untold(f"the key is known, and may not list models: {fault.message}")
    if fault.kind is FaultKind.AUTH_FAILED and keyless(walk):
        says = f"the endpoint wants a key, and none is set, HTTP {answer.status}"
        return broken(fault.kind, says, "set api_key or api_key_file, or OPENAI_API_KEY for a probe without a file")
    kind = FaultKind.PROXY_FAILED if answer.status == 407 else fault.kind
    what, remedy = _REMEDIES.get(kind, ("the endpoint refuses the request", "check base_url and the target's headers"))
    if fault.retry_after is not None:
        remedy = f"{remedy}; it asks to wait {fault.retry_after:g} s"
    own_words = f": {fault.message}" if isinstance(answer.value, (dict, str)) else ""
    return broken(kind, f"{what}, HTTP {answer.status}{own_words}", remedy)


def _judge_model(walk: Walk, answer: Answer) -> Finding:
    if answer.status == 200 and isinstance(answer.value, dict) and isinstance(answer.value.get("id"), str):
        return good(f"{walk.model} is known")
    error = answer.value.get("error") if isinstance(answer.value, dict) else None
    code = kind_of_code(error.get("code"), error.get("type")) if isinstance(error, dict) else None
    if answer.status == 404 and walk.listed:
        near = difflib.get_close_matches(walk.model, walk.listed[:_MOST_COMPARED], n=3)
        remedy = f"did you mean {' or '.join(near)}?" if near else "see which models the endpoint lists"
        return broken(FaultKind.NOT_FOUND, f"{walk.model} is not {_among(walk.listed)}", remedy)
    if answer.status == 404 and code is FaultKind.NOT_FOUND:
        says = f"the endpoint does not know {walk.model}: {_fault(walk, answer).message}"
        return broken(FaultKind.NOT_FOUND, says, "check the model's name, and whether it is retired")
    return untold(f"the endpoint does not tell whether it knows {walk.model} (HTTP {answer.status})")


def _fault(walk: Walk, answer: Answer) -> Fault:
    return fault_of_status(answer.status, answer.headers, answer.value, now=walk.clock.time(), secrets=walk.secrets)


def _among(listed: tuple[str, ...]) -> str:
    return "the one that is listed" if len(listed) == 1 else f"one of the {len(listed)} that are listed"


def _names(value: Any) -> tuple[str, ...] | None:
    """Return the names in a list of models; some servers leave out the object around it."""
    entries = value.get("data") if isinstance(value, dict) else value
    if not isinstance(entries, list):
        return None
    return tuple(entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str))


async def _lost(walk: Walk, error: Exception) -> Finding:
    """Return that the request was not answered, and why."""
    if objection := await find_objection(walk):
        return broken(FaultKind.TLS_FAILED, *explain_tls(objection))
    fault = fault_of_exception(error, Phase.HEADERS, now=walk.clock.time(), secrets=walk.secrets)
    kind, message = (fault.kind, fault.message) if fault else (FaultKind.CONNECTION_LOST, type(error).__name__)
    remedy = "what answers there may be no API: check base_url" if kind is FaultKind.CONNECTION_LOST else "try again"
    return broken(kind, f"GET /models: {message}", remedy)
