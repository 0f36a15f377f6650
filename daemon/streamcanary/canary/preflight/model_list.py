"""The steps models and model: check that the endpoint accepts the key and has the model."""

import difflib
import time
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec
from msgspec.structs import replace

from streamcanary.canary.preflight.context import DiagnosisContext
from streamcanary.canary.preflight.credentials import is_unauthenticated
from streamcanary.canary.preflight.step_result import StepResult, failed, ok, unknown
from streamcanary.canary.preflight.tls import explain_tls_error, find_tls_alert
from streamcanary.canary.targets.azure_target import AzureTarget
from streamcanary.canary.targets.openai_client import open_http_client
from streamcanary.client.core.fault_classification import classify_error_code, fault_from_exception, fault_from_status
from streamcanary.client.core.fault_classification.error_details import parse_error_details
from streamcanary.client.core.fault_classification.error_phrases import classify_phrase
from streamcanary.client.drivers.loop_share import MAX_BODY_PIECES, LoopShare, take_turns
from streamcanary.model.faults import Fault, FaultKind, Phase
from streamcanary.model.redaction.redactor import scrub
from streamcanary.transport.content_coding import ContentCodingRefused, create_decoder
from streamcanary.transport.redirects import is_same_origin, redirect_target

_MAX_BYTES = 1024 * 1024
_MAX_COMPARED_MODELS = 2000  # models whose names are compared with a misspelt one
_NOT_SUPPORTED_STATUSES = frozenset({404, 405, 501})
_REMEDIES: Mapping[FaultKind, tuple[str, str]] = {
    FaultKind.AUTH_FAILED: (
        "the endpoint rejects the key",
        "check that the key is not revoked, and that it belongs to this endpoint and project",
    ),
    FaultKind.PERMISSION_DENIED: (
        "the endpoint denies permission",
        "check the permissions of the key, and the networks and countries it is allowed in",
    ),
    FaultKind.RATE_LIMITED: ("the rate limit is exceeded", "send fewer requests, or raise the limit"),
    FaultKind.QUOTA_EXHAUSTED: ("the quota of the account is exhausted", "check its billing and its limits"),
    FaultKind.OVERLOADED: ("the endpoint is overloaded", "wait, and check the provider's status page"),
    FaultKind.SERVER_ERROR: ("the endpoint has an internal error", "wait, and check the provider's status page"),
    FaultKind.PROXY_FAILED: (
        "the proxy requires a user name and password",
        "add them to the proxy's URL: http://user:password@host",
    ),
}


_ROLE = "give the identity the role Cognitive Services OpenAI User on the resource; that takes some minutes"
_IDENTITY_REMEDIES: Mapping[FaultKind, tuple[str, str]] = {
    FaultKind.AUTH_FAILED: ("the endpoint rejects the access token of the identity", f"{_ROLE}; check its scope"),
    FaultKind.PERMISSION_DENIED: (
        "the endpoint denies permission to the identity",
        f"{_ROLE}; check the networks that the resource accepts",
    ),
}
"""Remedies for targets with an identity instead of a key."""
_KEYS_DISABLED = ("the resource accepts no keys", "use identity instead of api_key or api_key_file")
_CODING_REMEDY = "have the server or its gateway honour Accept-Encoding, or set that header on the target"


class HttpResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP response. ``json`` is its decoded body, ``None`` if that is not JSON or too long.

    ``is_complete`` is whether its body was read to the end: up to 1 MiB, and 2,000 pieces such as chunks.
    """

    status: int
    headers: httpx2.Headers
    json: Any
    is_complete: bool

    @property
    def is_html(self) -> bool:
        """Whether it is a web page."""
        return "html" in self.headers.get("content-type", "").lower()


async def list_models(context: DiagnosisContext) -> StepResult:
    """Request the list of models with the key; every account may read it, and it costs nothing."""
    try:
        response = await _get(context, "models")
    except ContentCodingRefused as error:
        return failed(FaultKind.NOT_A_STREAM, f"GET /models: the server answered, but {error}", _CODING_REMEDY)
    except (httpx2.HTTPError, OSError) as error:
        return await _request_failure_result(context, error)
    return _with_response_details(response, _check_models_response(context, response))


def on_models_timeout(context: DiagnosisContext) -> StepResult:
    """Return the result for a response that is not complete in time."""
    message = f"GET /models: no complete response within {context.timeout:g} s"
    return failed(FaultKind.HEADERS_TIMEOUT, message, "wait, and check the provider's status page")


async def find_model(context: DiagnosisContext) -> StepResult:
    """Look up the model in the list, or request it by its name if it is not there."""
    if isinstance(context.target, AzureTarget):
        return await find_deployment(context, context.target)
    if context.listed_models and context.model in context.listed_models:
        return ok(f"{context.model} is {_describe_listing(context.listed_models)}")
    try:
        response = await _get(context, f"models/{quote(context.model, safe='')}")
    except (httpx2.HTTPError, OSError) as error:
        return unknown(f"the model could not be requested: {(await _request_failure_result(context, error)).message}")
    return _with_response_details(response, _check_model_response(context, response))


async def find_deployment(context: DiagnosisContext, target: AzureTarget) -> StepResult:
    """Send an empty request to the deployment, which refuses it if it exists; no list of Azure has deployments.

    Source: https://learn.microsoft.com/azure/ai-foundry/openai/reference; the list of models has those of the region.
    """
    path, body = "chat/completions", {"model": context.model}
    if target.api_version:
        path, body = f"deployments/{quote(context.model, safe='')}/{path}", {}
    try:
        response = await _send(context, "POST", path, body)
    except (httpx2.HTTPError, OSError) as error:
        message = (await _request_failure_result(context, error)).message
        return unknown(f"the deployment could not be requested: {message}")
    return _with_response_details(response, _check_deployment_response(context, response))


def _check_deployment_response(context: DiagnosisContext, response: HttpResponse) -> StepResult:
    """Return whether the deployment exists: it refuses the missing messages, or the error names it as missing."""
    error, fault = parse_error_details(response.json), _fault(context, response)
    codes = " ".join(map(str, error.codes)).lower()
    if response.status in (400, 422) and "messages" in f"{error.param} {error.message}".lower():
        return ok(f"the deployment {context.model} answers: it refuses an empty request, HTTP {response.status}")
    is_named = "deployment" in codes or "model" in codes or classify_phrase(error.message) is FaultKind.NOT_FOUND
    if fault.kind is FaultKind.NOT_FOUND and is_named:
        remedy = "check the name of the deployment; a new one takes some minutes"
        return failed(fault.kind, f"there is no deployment {context.model}: {fault.message}", remedy)
    if response.status in (401, 403):
        return _error_result(context, response)
    message = f"cannot determine whether the deployment {context.model} exists, HTTP {response.status}"
    if isinstance(response.json, (dict, list)):
        message = f"{message}: {fault.message}"
    wrong_path = "if runs fail, check endpoint and api_version: the path of the request may not exist"
    return unknown(message, wrong_path if response.status == 404 else "")


def on_model_timeout(context: DiagnosisContext) -> StepResult:
    """Return an inconclusive result for a late response: the endpoint answered the previous step."""
    request = "POST" if isinstance(context.target, AzureTarget) else f"GET /models/{context.model}"
    return unknown(f"{request}: no complete response within {context.timeout:g} s")


async def _get(context: DiagnosisContext, path: str) -> HttpResponse:
    return await _send(context, "GET", path)


async def _send(
    context: DiagnosisContext, method: str, path: str, body: Mapping[str, str] | None = None
) -> HttpResponse:
    if context.tls_context is None:
        raise RuntimeError("no TLS context")
    async with open_http_client(context.tls_context, context.proxy) as client:
        url = httpx2.URL(f"{context.target.base_url}/{path}")
        if isinstance(context.target, AzureTarget) and context.target.api_version:
            url = url.copy_set_param("api-version", context.target.api_version)
        # Without a timeout here: that of the step applies.
        async with client.stream(method, url, headers=context.headers, json=body, timeout=None) as response:
            received, is_complete = await _read_body(response)
    return HttpResponse(
        status=response.status_code,
        headers=response.headers,
        json=_decode(received) if is_complete else None,
        is_complete=is_complete,
    )


async def _read_body(response: httpx2.Response) -> tuple[bytearray, bool]:
    """Return the body, decoded at most once, and whether it is complete; other tasks run between its pieces.

    Raises:
        ContentCodingRefused: if it has a content coding that was not requested.
    """
    offered = response.request.headers.get("accept-encoding")
    decoder = create_decoder(response.headers.get("content-encoding"), offered)
    body, count = bytearray(), 0
    # Without a chunk size: the transport would join small chunks up to it, and meanwhile no other task would run.
    pieces = take_turns(response.aiter_raw(), LoopShare(1.0, time.monotonic), MAX_BODY_PIECES + 1)
    async with aclosing(pieces):
        async for data in pieces:
            count += 1
            for piece in (data,) if decoder is None else decoder.decode(data):
                body += piece
                if len(body) > _MAX_BYTES:
                    return body, False
    return body, count <= MAX_BODY_PIECES


def _decode(body: bytearray) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _with_response_details(response: HttpResponse, result: StepResult) -> StepResult:
    request_id = response.headers.get("x-request-id")
    return replace(result, status=response.status, request_id=scrub(request_id, limit=128) if request_id else None)


def _check_models_response(context: DiagnosisContext, response: HttpResponse) -> StepResult:
    status = response.status
    if 300 <= status < 400:
        return _redirect_result(context, response)
    if status in _NOT_SUPPORTED_STATUSES:
        page = " (HTML page)" if response.is_html else ""
        return unknown(
            f"the endpoint has no list of models, HTTP {status}{page}", "if runs fail, check the path of base_url"
        )
    if status >= 400:
        return _error_result(context, response)
    if response.is_html:
        message = "the response is a web page: a login page, or base_url is wrong"
        return failed(FaultKind.NOT_A_STREAM, message, "check base_url, and whether a gateway requires a login")
    context.listed_models = _model_ids(response.json)
    if context.listed_models is None:
        key = "no key is required" if is_unauthenticated(context) else "the key is not rejected"
        reason = "is not a list of models" if response.is_complete else "is longer than 1 MiB, or in too many chunks"
        return unknown(f"{key}; the response {reason}")
    if isinstance(context.target, AzureTarget):
        return ok("the credential is accepted; the list has the models of the region, not the deployments")
    count = "1 model is" if len(context.listed_models) == 1 else f"{len(context.listed_models)} models are"
    return ok(f"{'no key is required' if is_unauthenticated(context) else 'the key is accepted'}; {count} listed")


def _redirect_result(context: DiagnosisContext, response: HttpResponse) -> StepResult:
    """Return the result of a redirect, which neither this step nor a run follows."""
    message = f"HTTP {response.status} redirects to {redirect_target(response.headers)}"
    remedy = "set base_url to the address of the API; redirects are not followed"
    if response.status in (307, 308) and is_same_origin(f"{context.target.base_url}/models", response.headers):
        return unknown(message, f"if runs fail, {remedy}")  # only this path may have moved, for example to "models/"
    return failed(FaultKind.NOT_A_STREAM, f"{message}: a login page, or base_url is wrong", remedy)


def _error_result(context: DiagnosisContext, response: HttpResponse) -> StepResult:
    fault = _fault(context, response)
    if response.status in (401, 403) and "missing scopes" in fault.message.lower():
        return unknown(f"the key is valid, but may not list models: {fault.message}")
    if fault.kind is FaultKind.AUTH_FAILED and is_unauthenticated(context):
        message = f"the endpoint requires a key, and none is set, HTTP {response.status}"
        return failed(fault.kind, message, "set api_key or api_key_file, or OPENAI_API_KEY for a probe without a file")
    kind = FaultKind.PROXY_FAILED if response.status == 407 else fault.kind
    reason, remedy = _remedy(context, kind, fault)
    if fault.retry_after is not None:
        remedy = f"{remedy}; Retry-After is {fault.retry_after:g} s"
    server_message = f": {fault.message}" if isinstance(response.json, (dict, list, str)) else ""
    return failed(kind, f"{reason}, HTTP {response.status}{server_message}", remedy)


def _remedy(context: DiagnosisContext, kind: FaultKind, fault: Fault) -> tuple[str, str]:
    """Return the reason of an error, and what can be done."""
    if isinstance(context.target, AzureTarget):
        if context.target.identity is not None and kind in _IDENTITY_REMEDIES:
            return _IDENTITY_REMEDIES[kind]
        if fault.code == "AuthenticationTypeDisabled":
            return _KEYS_DISABLED
    return _REMEDIES.get(kind, ("the endpoint rejects the request", "check base_url and the target's headers"))


def _check_model_response(context: DiagnosisContext, response: HttpResponse) -> StepResult:
    if response.status == 200 and isinstance(response.json, dict) and isinstance(response.json.get("id"), str):
        return ok(f"{context.model} exists")
    error = response.json.get("error") if isinstance(response.json, dict) else None
    code = classify_error_code(error.get("code"), error.get("type")) if isinstance(error, dict) else None
    if response.status == 404 and context.listed_models:
        near = difflib.get_close_matches(context.model, context.listed_models[:_MAX_COMPARED_MODELS], n=3)
        remedy = f"did you mean {' or '.join(near)}?" if near else "choose one of the listed models"
        return failed(FaultKind.NOT_FOUND, f"{context.model} is not {_describe_listing(context.listed_models)}", remedy)
    if response.status == 404 and code is FaultKind.NOT_FOUND:
        message = f"{context.model} does not exist: {_fault(context, response).message}"
        return failed(FaultKind.NOT_FOUND, message, "check the name of the model, and whether it is retired")
    return unknown(f"cannot determine whether {context.model} exists (HTTP {response.status})")


def _fault(context: DiagnosisContext, response: HttpResponse) -> Fault:
    return fault_from_status(
        response.status, response.headers, response.json, now=context.clock.time(), secrets=context.redactor
    )


def _describe_listing(listed: tuple[str, ...]) -> str:
    return "the only listed model" if len(listed) == 1 else f"one of the {len(listed)} listed models"


def _model_ids(value: Any) -> tuple[str, ...] | None:
    """Return the names in a list of models; some servers send the list without the object around it."""
    entries = value.get("data") if isinstance(value, dict) else value
    if not isinstance(entries, list):
        return None
    return tuple(entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str))


async def _request_failure_result(context: DiagnosisContext, error: Exception) -> StepResult:
    """Return the result for a request without a response."""
    if alert := await find_tls_alert(context):
        return failed(FaultKind.TLS_FAILED, *explain_tls_error(alert))
    fault = fault_from_exception(error, Phase.HEADERS, now=context.clock.time(), secrets=context.redactor)
    kind, message = (fault.kind, fault.message) if fault else (FaultKind.CONNECTION_LOST, type(error).__name__)
    remedy = (
        "check base_url: the server may not be an OpenAI-compatible API"
        if kind is FaultKind.CONNECTION_LOST
        else "try again"
    )
    return failed(kind, f"GET /models: {message}", remedy)
