"""The first two steps, for which nothing is sent: what we have is complete, and can be sent at all."""

import re
from urllib.parse import urlsplit

import httpx2

from streamcanary.canary.preflight.context import Walk
from streamcanary.canary.preflight.step_result import Finding, broken, good, untold
from streamcanary.model.config_types.secret import Secret, SecretUnreadable
from streamcanary.model.faults import FaultKind
from streamcanary.transport.proxy import ProxyUnusable, proxy_for

_NO_KEY = "none"
_HOST = re.compile(r"[0-9A-Za-z._:-]+")
_SHORTEST = 4  # scrub() takes nothing shorter for a secret


async def check_key(walk: Walk) -> Finding:
    """Read the key and the headers, and see that they fit into a request."""
    target = walk.target
    values: dict[str, str] = {}
    secrets: dict[str, Secret] = {"the key": target.key}
    secrets |= {f"the header {name}": secret for name, secret in target.headers.items()}
    for name, secret in secrets.items():
        try:
            values[name] = secret.reveal()
        except SecretUnreadable as error:
            return broken(FaultKind.AUTH_FAILED, str(error), "mount the secret, or correct the path in the target")
    walk.secrets = _private(walk, list(values.values()))
    for name, value in values.items():
        if problem := _unsendable_part(value):
            where = f" (file {secrets[name].path})" if secrets[name].path else ""
            return _unsendable(f"{name} {problem}{where}", "copy it anew, as one line of plain text")
    walk.headers.update({"authorization": f"Bearer {values['the key']}", "accept": "application/json"})
    # Unpacked, the answer could be a thousand times as long as what comes in.
    walk.headers.update({"accept-encoding": "identity", "user-agent": "streamcanary"})
    walk.headers.update({name: values[f"the header {name}"] for name in target.headers})
    return _present(values["the key"], target.key)


def _private(walk: Walk, values: list[str]) -> tuple[str, ...]:
    """Return the secrets, without those that are none: a local server's key is often its own name."""
    public = f"{urlsplit(walk.target.base_url).hostname} {walk.model}"
    return tuple(
        value for value in values if len(value) >= _SHORTEST and value not in public and value.lower() != _NO_KEY
    )


def _unsendable(says: str, remedy: str) -> Finding:
    return broken(FaultKind.INVALID_REQUEST, says, remedy)


def _unsendable_part(value: str) -> str | None:
    """Return what keeps ``value`` out of a header (RFC 9110, 5.5), or ``None``."""
    if not value:
        return "is empty"
    if "\n" in value or "\r" in value:
        return "has a line break in it"
    if not value.isascii():
        return "has a character in it that is not ASCII"
    if any(ord(character) < 32 or ord(character) == 127 for character in value.replace("\t", "")):
        return "has a control character in it"
    return None


def keyless(walk: Walk) -> bool:
    """Tell whether no credential is sent: the key only says that there is none, and no header can stand for it."""
    return walk.headers.get("authorization", "").lower() == f"bearer {_NO_KEY}" and not walk.target.headers


def _present(key: str, secret: Secret) -> Finding:
    if key.lower() == _NO_KEY:
        return untold("none is set; an endpoint of your own may need none, others want one")
    source = f"from the file {secret.path}" if secret.path else "as a value"
    if key[0] in "\"'" or key.lower().startswith("bearer "):
        what = "with a quotation mark in front" if key[0] in "\"'" else "with the word Bearer in front"
        return good(f"present, {source}, {what}", "if the key is refused, take that away")
    return good(f"present, {source}")


async def check_address(walk: Walk) -> Finding:
    """See that the address can be asked, and find the proxy on the way to it."""
    address = walk.target.base_url
    try:
        walk.url = httpx2.URL(address)
        is_host = _HOST.fullmatch(walk.host) is not None
    except httpx2.InvalidURL:
        is_host = False
    if not is_host:
        return _unsendable("the host in base_url is no name", "write the address like https://api.openai.com/v1")
    for path in ("/chat/completions", "/responses", "/models"):
        if walk.url.path.endswith(path):
            return _unsendable(f"base_url ends with {path}, which the client adds itself", "give the part before it")
    try:
        walk.proxy = proxy_for(address, walk.target.proxy)
    except ProxyUnusable as error:
        return broken(FaultKind.PROXY_FAILED, str(error), "correct it, or name the host in NO_PROXY")
    if walk.proxy is None:
        return good(f"{address}, without a proxy")
    if walk.proxy.auth is not None and len(walk.proxy.auth[1]) >= _SHORTEST:
        walk.secrets = (*walk.secrets, walk.proxy.auth[1])
    return good(f"{address}, through {walk.proxy.url} ({walk.proxy.source})")
