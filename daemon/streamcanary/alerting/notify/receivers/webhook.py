"""``webhook``: any HTTP endpoint, signed by Standard Webhooks 1.0.0 (https://www.standardwebhooks.com)."""

import base64
import binascii
import hashlib
import hmac
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import httpx2
import msgspec
from pydantic import AfterValidator, model_validator

from streamcanary.alerting.notify.delivery.receiver_url import SecretUrl, check_url
from streamcanary.alerting.notify.delivery.result import DeliveryResult
from streamcanary.alerting.notify.message import Message
from streamcanary.alerting.notify.receivers.base import (
    HttpReceiver,
    check_value_or_file,
    retry_for_unusable_secret,
    value_or_file,
)
from streamcanary.model.config_types.secret import Secret, SecretUnreadable


def _decode_signing_secret(text: str) -> bytes:
    """Return the bytes of a secret in the format ``whsec_`` and base64.

    Raises:
        ValueError: if it has another format, or is not 24 to 64 bytes long.
    """
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True) if text.startswith("whsec_") else b""
    except binascii.Error:
        key = b""
    if not 24 <= len(key) <= 64:
        raise ValueError("must be whsec_ and the base64 of 24 to 64 random bytes")
    return key


def _check_signing_secret(value: Secret) -> Secret:
    _decode_signing_secret(value.reveal())
    return value


class Webhook(HttpReceiver):
    """An event receiver: one POST when a group opens, one at each update, one when it resolves.

    The body is JSON:

    - ``version``: 1.
    - ``type``: ``alert.fired``; ``alert.updated`` if alerts were added or resolved, or after ``repeat_interval``; or
      ``alert.resolved`` if no alert of the group fires.
    - ``key``: key of the group, the same in all its notifications and in all replicas.
    - ``title``: one line that says what is broken for whom.
    - ``labels``: labels that the alerts of the group share.
    - ``opened``: time at which the group opened. All times are RFC 3339 in UTC.
    - ``url``: link to the status page, ``null`` without ``alerts.external_url``.
    - ``total``: number of alerts in the group; ``firing``: number of those that fire.
    - ``alerts``: the first of them: new ones, others that fire, and resolved ones. Each has ``key``, ``alert``,
      ``subject``, ``canary`` (``null`` for an alert that pools canaries or is about the daemon), ``scope`` and
      ``members`` (the scope of an alert that pools canaries, and their number; else ``null``), ``labels``,
      ``annotations``, ``opened`` and ``resolved`` (``null`` while it fires), ``new`` (whether it fires, and was in no
      earlier notification of the group), ``reason`` (why it resolved, such as ``recovered: 7 of the last 8 runs were
      good``), ``resolves`` (the condition that resolves it), ``traces`` (links), ``url`` and ``silence_url`` (links to
      the status page, or ``null``) and ``evidence`` (the fields of
      :class:`~streamcanary.model.alerts.incident.Evidence`; those about canaries only if it pools canaries). Evidence
      and annotations are those at the time at which the notification was created.

    ``recall: true`` turns on the resolves that a daemon with a new or lost store sends for groups that an earlier
    process may have opened. It is for receivers that ignore a resolve of a key that they do not know.

    Headers: ``webhook-id`` is the same on every retry, ``webhook-timestamp`` is the time of sending (seconds since the
    epoch), ``webhook-signature`` is ``v1,`` and the base64 of the HMAC-SHA256 of ``id.timestamp.body``.
    """

    is_state_receiver: ClassVar[bool] = False
    can_deduplicate: ClassVar[bool] = True

    type: Literal["webhook"]
    url: SecretUrl | None = None
    url_file: Path | None = None
    secret: Annotated[Secret, AfterValidator(_check_signing_secret)] | None = None
    secret_file: Path | None = None
    recall: bool = False

    @property
    def can_reconcile(self) -> bool:
        """Whether it is sent resolves of groups that an earlier process may have opened, after a store was lost."""
        return self.recall

    @model_validator(mode="after")
    def _check_value_or_file(self) -> "Webhook":
        check_value_or_file(self, "url", "secret")
        return self

    def read_secrets(self) -> tuple[str, str]:
        """Return the URL and the signing secret."""
        url = check_url(value_or_file(self.url, self.url_file).reveal())
        secret = value_or_file(self.secret, self.secret_file).reveal()
        _decode_signing_secret(secret)
        return url, secret

    async def send(self, http: httpx2.AsyncClient, message: Message, now: float) -> DeliveryResult:
        """Deliver ``message``, signed at ``now`` (seconds since the epoch); raise nothing but cancellation."""
        try:
            url, secret = self.read_secrets()
        except (SecretUnreadable, ValueError) as error:
            return retry_for_unusable_secret(error)
        body = msgspec.json.encode(message.to_dict())
        timestamp = str(int(now))
        signature = hmac.digest(
            _decode_signing_secret(secret), b".".join((message.id.encode(), timestamp.encode(), body)), hashlib.sha256
        )
        headers = {
            "webhook-id": message.id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
        }
        return await self.deliver(http, url, body, now, headers=headers, secrets=(secret,))
