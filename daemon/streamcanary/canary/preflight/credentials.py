"""The steps key and address, which send nothing: check that credentials and base URL are valid."""

import re

import httpx2

from streamcanary.canary.preflight.context import DiagnosisContext
from streamcanary.canary.preflight.step_result import StepResult, failed, ok, unknown
from streamcanary.model.config_types.secret import Secret, SecretUnreadable
from streamcanary.model.faults import FaultKind
from streamcanary.transport.proxy import InvalidProxyUrl, proxy_for

_NO_KEY = "none"
_HOST = re.compile(r"[0-9A-Za-z._:-]+")


async def check_key(context: DiagnosisContext) -> StepResult:
    """Read the key and the headers, and check that they are valid header values."""
    target = context.target
    values: dict[str, str] = {}
    secrets: dict[str, Secret] = {"the key": target.key}
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
    context.headers.update({"authorization": f"Bearer {values['the key']}", "accept": "application/json"})
    context.headers.update({"accept-encoding": "identity", "user-agent": "streamcanary"})
    context.headers.update({name: values[f"the header {name}"] for name in target.headers})
    return _key_result(values["the key"], target.key)


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
    return context.headers.get("authorization", "").lower() == f"bearer {_NO_KEY}" and not context.target.headers


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
