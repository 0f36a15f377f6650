"""``webhook``: any HTTP endpoint, signed as Standard Webhooks says (https://www.standardwebhooks.com, 1.0.0)."""

import base64
import binascii
import hashlib
import hmac
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import httpx2
import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from streamcanary.alerting.page import Page
from streamcanary.alerting.receivers.address import SecretAddress, check_address
from streamcanary.alerting.receivers.answer import Answer, Retry
from streamcanary.alerting.receivers.post import post
from streamcanary.model.duration import PositiveDuration
from streamcanary.model.secret import Secret, SecretUnreadable


def _key(text: str) -> bytes:
    """Return the bytes of a secret written ``whsec_`` and base64.

    Raises:
        ValueError: if it is not written so, or is not 24 to 64 bytes long.
    """
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True) if text.startswith("whsec_") else b""
    except binascii.Error:
        key = b""
    if not 24 <= len(key) <= 64:
        raise ValueError("must be whsec_ and the base64 of 24 to 64 random bytes")
    return key


def _signing(value: Secret) -> Secret:
    _key(value.reveal())
    return value


class Webhook(BaseModel):
    """An edge receiver: one POST when an alert fires, one when it is resolved.

    The body is JSON: ``version`` (1), ``type`` (``alert.fired`` or ``alert.resolved``), ``key`` (the same for both, and
    for the same alert of another replica), ``alert``, ``canary`` (``null`` for a built-in alert), ``labels``,
    ``annotations``, ``opened`` and ``resolved`` (RFC 3339, UTC; ``resolved`` is ``null`` while it fires), ``reason``
    (why it is over, such as ``recovered: 7 of the last 8 runs were good``) and ``evidence`` (the fields of
    :class:`~streamcanary.model.incident.Evidence`). ``labels``, ``annotations`` and ``evidence`` are those of the
    opening, in the resolve as well: a receiver knows the alert by them, and ``reason`` is what is new.

    Headers: ``webhook-id`` is the same on every retry, ``webhook-timestamp`` is when it was sent (seconds since the
    epoch), ``webhook-signature`` is ``v1,`` and the base64 of the HMAC-SHA256 of ``id.timestamp.body``.
    ``timeout`` (seconds) bounds one delivery.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    level: ClassVar[bool] = False

    type: Literal["webhook"]
    url: SecretAddress | None = None
    url_file: Path | None = None
    secret: Annotated[Secret, AfterValidator(_signing)] | None = None
    secret_file: Path | None = None
    timeout: Annotated[PositiveDuration, Field(le=60)] = 10.0

    @model_validator(mode="after")
    def _one_of_each(self) -> "Webhook":
        if (self.url is None) is (self.url_file is None):
            raise ValueError("needs exactly one of url and url_file")
        if (self.secret is None) is (self.secret_file is None):
            raise ValueError("needs exactly one of secret and secret_file")
        return self

    async def send(self, http: httpx2.AsyncClient, page: Page, now: float) -> Answer:
        """Deliver ``page``, signed at ``now`` (seconds since the epoch). Raises nothing but cancellation."""
        try:
            url = check_address((self.url or Secret(path=self.url_file)).reveal())
            secret = (self.secret or Secret(path=self.secret_file)).reveal()
            key = _key(secret)
        except SecretUnreadable as error:
            return Retry(reason=str(error), definite=True)
        except ValueError as error:  # from a file; what the configuration itself says was checked when it was loaded
            return Retry(reason=f"the content of url_file or secret_file {error}", definite=True)
        body = msgspec.json.encode(page.document())
        timestamp = str(int(now))
        signed = hmac.digest(key, b".".join((page.id.encode(), timestamp.encode(), body)), hashlib.sha256)
        headers = {
            "webhook-id": page.id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
        }
        return await post(http, url, content=body, headers=headers, timeout=self.timeout, now=now, secrets=(secret,))
