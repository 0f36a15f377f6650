"""The steps key and address, which send nothing: check that credentials and base URL are valid."""

import re

import httpx2

from streamcanary.canary.preflight.context import DiagnosisContext
from streamcanary.canary.preflight.step_result import StepResult, failed, ok, unknown
from streamcanary.canary.targets.azure_identity import TokenRefused, TokenUnavailable
from streamcanary.canary.targets.azure_target import AzureTarget
from streamcanary.model.config_types.secret import Secret, SecretUnreadable
from streamcanary.model.faults import FaultKind
from streamcanary.transport.proxy import InvalidProxyUrl, proxy_for

_NO_KEY = "none"
_HOST = re.compile(r"[0-9A-Za-z._:-]+")


async def check_key(context: DiagnosisContext) -> StepResult:
    """Read the key and the headers, and check that they are valid header values."""
    target = context.target
    values: dict[str, str] = {}
    key = target.key
    secrets: dict[str, Secret] = {"the key": key} if key else {}
    secrets |= {f"the header {name}": secret for name, secret in target.headers.items()}
    for name, secret in secrets.items():
        try:
            values[name] = secret.reveal()
        except SecretUnreadable as error:
            return failed(FaultKind.AUTH_FAILED, str(error), "mount the secret, or correct the path in the target")
    for name, value in values.items():
        if problem := _invalid_header_reason(value):
            where = f" (file {secrets[name].path})" if secrets[name].path else ""
            return _invalid_request(f"{name} {problem}{where}", "copy it again, as one line of ASCII text")
    if key is None:
        return await _check_identity(context, values)
    if isinstance(target, AzureTarget) and target.api_version:
        context.headers["api-key"] = values["the key"]
    else:
        context.headers["authorization"] = f"Bearer {values['the key']}"
    _set_headers(context, values)
    return _key_result(values["the key"], key)


async def _check_identity(context: DiagnosisContext, values: dict[str, str]) -> StepResult:
    """Get an access token; it is not sent if there is none."""
    target = context.target
    tokens = target.access_tokens if isinstance(target, AzureTarget) else None
    if tokens is None:
        raise RuntimeError("a target without key or identity")
    remedy = "check the identity, its federated credential and its role on the resource"
    try:
        context.headers["authorization"] = f"Bearer {await tokens()}"
    except TokenRefused as error:
        return failed(FaultKind.AUTH_FAILED, str(error), remedy)
    except TokenUnavailable as error:
        return failed(FaultKind.CONNECT_FAILED, str(error), "check the way to the Microsoft Entra authority")
    _set_headers(context, values)
    return ok("an access token was issued to the identity")


def on_key_timeout(context: DiagnosisContext) -> StepResult:
    """Return the result for an access token that is not issued in time; only that can take so long."""
    message = f"no access token within {context.timeout:g} s"
    return failed(FaultKind.CONNECT_FAILED, message, "check the way to the Microsoft Entra authority")


def _set_headers(context: DiagnosisContext, values: dict[str, str]) -> None:
    context.headers.update({"accept": "application/json", "accept-encoding": "identity", "user-agent": "streamcanary"})
    context.headers.update({name: values[f"the header {name}"] for name in context.target.headers})


def _invalid_request(message: str, remedy: str) -> StepResult:
    return failed(FaultKind.INVALID_REQUEST, message, remedy)


def _invalid_header_reason(value: str) -> str | None:
    """Return why ``value`` is not a valid header value (RFC 9110, 5.5), or ``None``."""
    if not value:
        return "is empty"
    if "\n" in value or "\r" in value:
        return "contains a line break"
    if not value.isascii():
        return "contains a character that is not ASCII"
    if any(ord(character) < 32 or ord(character) == 127 for character in value.replace("\t", "")):
        return "contains a control character"
    return None


def is_unauthenticated(context: DiagnosisContext) -> bool:
    """Return whether no credential is sent: the key is the placeholder ``none``, and there are no headers."""
    sent = context.headers.get("api-key") or context.headers.get("authorization", "").removeprefix("Bearer ")
    return sent.lower() == _NO_KEY and not context.target.headers


def _key_result(key: str, secret: Secret) -> StepResult:
    if key.lower() == _NO_KEY:
        return unknown("no key is set; a self-hosted endpoint may not need one, others do")
    source = f"from the file {secret.path}" if secret.path else "as a value"
    if key[0] in "\"'" or key.lower().startswith("bearer "):
        prefix = "a quotation mark" if key[0] in "\"'" else "the word Bearer"
        return ok(f"present, {source}, starts with {prefix}", "if the endpoint rejects the key, remove this prefix")
    return ok(f"present, {source}")


async def check_address(context: DiagnosisContext) -> StepResult:
    """Check the base URL, and choose the proxy for it."""
    address = context.target.base_url
    try:
        context.url = httpx2.URL(address)
        is_host = _HOST.fullmatch(context.host) is not None
    except httpx2.InvalidURL:
        is_host = False
    if not is_host:
        return _invalid_request("base_url has no valid host name", "write it like https://api.openai.com/v1")
    for path in ("/chat/completions", "/responses", "/models"):
        if context.url.path.endswith(path):
            return _invalid_request(f"base_url ends with {path}, which the client appends itself", f"remove {path}")
    try:
        context.proxy = proxy_for(address, context.target.proxy)
    except InvalidProxyUrl as error:
        return failed(FaultKind.PROXY_FAILED, str(error), "correct it, or add the host to NO_PROXY")
    if context.proxy is None:
        return ok(f"{address}, without a proxy")
    return ok(f"{address}, through {context.proxy.url} ({context.proxy.source})")
