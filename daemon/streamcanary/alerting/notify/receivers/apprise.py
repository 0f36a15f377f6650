"""``apprise``: email and any other service that the library Apprise has a plugin for.

https://appriseit.com/services/
"""

import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

import httpx2
from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from streamcanary.alerting.notify.delivery.blocking_call import BlockingCall
from streamcanary.alerting.notify.delivery.receiver_url import secret_parts
from streamcanary.alerting.notify.delivery.result import DeliveryResult
from streamcanary.alerting.notify.message import Alert, Message
from streamcanary.alerting.notify.receivers.base import BaseReceiver, retry_for_unusable_secret
from streamcanary.alerting.notify.text_format import disarm_mentions, facts_to_read, heading, links, truncate
from streamcanary.model.alerts.incident import Action
from streamcanary.model.config_types.duration import PositiveDuration
from streamcanary.model.config_types.secret import Secret, SecretUnreadable
from streamcanary.model.redaction.redactor import scrub

if TYPE_CHECKING:
    from apprise import NotifyBase

_MAX_URLS = 16
_MAX_ALERTS = 10
_MAX_TITLE_LENGTH = 200
_MAX_BODY_LENGTH = 16_000
_MIN_BODY_LENGTH = 100
_MIN_TOKEN_LENGTH = 10
_ADVICE = (
    "is no address that Apprise knows, such as mailtos://user:password@example.com?to=oncall@example.com; "
    "see https://appriseit.com/services/"
)
_NOTIFY_TYPES = {Action.TRIGGER: "failure", Action.UPDATE: "warning", Action.RESOLVE: "success"}


def _check_url(url: str) -> str:
    if _service(url) is None:
        raise ValueError(_ADVICE)
    return url


def _check_secret_url(value: Secret) -> Secret:
    _check_url(value.reveal())
    return value


class Apprise(BaseReceiver):
    """An event receiver: sends a text message when a group opens, at each update, and when it resolves.

    It can neither deduplicate nor resolve: a repeated delivery is a second message, and a resolve is one more message.
    Apprise does not report which errors are permanent, so that every failed delivery is retried.
    Use it for email and chat, not for paging.

    ``urls`` are Apprise URLs, all of them secret. ``urls_file`` has one URL on each line, where ``#`` begins a
    comment; it is read again when it changes. A retry omits the URLs that have accepted the message. Proxies and
    certificate authorities are those of the environment. Redirects are not followed, except for a URL with
    ``redirect=yes``. ``timeout`` (seconds) bounds the wait for a result; a delivery that takes longer continues in
    its thread, and no other delivery begins before it has ended.
    """

    is_state_receiver: ClassVar[bool] = False
    can_deduplicate: ClassVar[bool] = False
    config_warning: ClassVar[str] = (
        "apprise can neither deduplicate nor resolve: a message may come twice, and that an alert is over is one more"
    )

    type: Literal["apprise"]
    urls: (
        Annotated[
            tuple[Annotated[Secret, AfterValidator(_check_secret_url)], ...], Field(min_length=1, max_length=_MAX_URLS)
        ]
        | None
    ) = None
    urls_file: Path | None = None
    timeout: Annotated[PositiveDuration, Field(le=60)] = 30.0

    _blocking_call: BlockingCall = PrivateAttr(default_factory=BlockingCall)

    @model_validator(mode="after")
    def _check_one_of_urls(self) -> "Apprise":
        if (self.urls is None) is (self.urls_file is None):
            raise ValueError("needs exactly one of urls and urls_file")
        return self

    def delivery_obstacle(self) -> str | None:
        """Return why deliveries would fail, as far as the files show; ``None`` if nothing is found. Reads files."""
        try:
            for url in self.read_secrets():
                _check_url(url)
        except (SecretUnreadable, ValueError) as error:
            return retry_for_unusable_secret(error).reason
        return None

    def read_secrets(self) -> tuple[str, ...]:
        """Return the URLs.

        Raises:
            SecretUnreadable: if their file cannot be read.
            ValueError: if the file has no URL, or more than 16.
        """
        if self.urls is not None:
            return tuple(secret.reveal() for secret in self.urls)
        lines = (line.strip() for line in Secret(path=self.urls_file).reveal().splitlines())
        urls = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
        if not 0 < len(urls) <= _MAX_URLS:
            raise ValueError(f"must be 1 to {_MAX_URLS} addresses, one on each line")
        return urls

    async def send(self, http: httpx2.AsyncClient, message: Message, now: float) -> DeliveryResult:
        """Deliver ``message``; raise nothing but cancellation."""
        try:
            urls = self.read_secrets()
        except (SecretUnreadable, ValueError) as error:
            return retry_for_unusable_secret(error)
        title, body = render_text(message)

        def deliver(url: str) -> str | None:
            return _notify(url, title, body, _NOTIFY_TYPES[message.action])

        return await self._blocking_call.run(message.id, urls, deliver, self.timeout)


def _notify(url: str, title: str, body: str, kind: str) -> str | None:
    """Deliver to one URL, without a time limit; return the error, or ``None``."""
    import apprise

    service = _service(url)
    if service is None:
        return f"an address in the file {_ADVICE}"
    # Some services put the title into the body.
    max_length = min(_MAX_BODY_LENGTH, max(_MIN_BODY_LENGTH, service.body_maxlen - len(title) - 2))
    sender = apprise.Apprise(asset=_asset())
    sender.add(service)
    try:
        result = sender.notify(body=truncate(body, max_length), title=title, notify_type=kind, body_format="text")
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything; its exception becomes the reason
        reason = f"{type(error).__name__}: {error}"
    else:
        if result:
            return None
        reason = "; ".join(dict.fromkeys(entry.message for entry in result.logs())) or "failed without a reason"
    return f"{service.service_name}: {scrub(reason, _secret_parts(url), 200)}"


def _secret_parts(url: str) -> set[str]:
    """Return the secret parts of ``url``, including the host if it may be a token, as with many services."""
    secrets = set(secret_parts(url))
    try:
        host = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return secrets
    return secrets if "." in host or ":" in host or len(host) < _MIN_TOKEN_LENGTH else secrets | {host, host.lower()}


def _service(url: str) -> "NotifyBase | None":
    """Return the configured plugin for ``url``; ``None`` if there is none."""
    import apprise

    return apprise.Apprise.instantiate(url, asset=_asset(), suppress_exceptions=True)


@cache
def _asset() -> Any:
    """Return the settings of Apprise: synchronous, without files, and without log output."""
    import apprise

    # Its log lines are part of each result; the reason is made from there, scrubbed.
    logger = logging.getLogger("apprise")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return apprise.AppriseAsset(
        app_id="streamcanary",
        app_desc="streamcanary",
        async_mode=False,
        storage_mode="memory",
        http_redirects=False,
        service_timeout=0,
    )


def render_text(message: Message) -> tuple[str, str]:
    """Return the title and the body of ``message`` as plain text, such as subject and body of a mail."""
    shown, firing = message.alerts[:_MAX_ALERTS], len(message.firing_alerts)
    paragraphs = [_alert_text(alert) for alert in shown]
    if message.alert_count > len(shown):
        paragraphs.append(f"and {message.alert_count - len(shown)} more")
    if 0 < firing < len(shown):
        paragraphs.insert(firing, "No longer firing:")
    title = truncate(disarm_mentions(heading(message)), _MAX_TITLE_LENGTH)
    return title, disarm_mentions("\n\n".join(paragraphs))


def _alert_text(alert: Alert) -> str:
    lines = [alert.summary]
    if alert.custom_summary:  # a generated one has the names and the state
        heading = f"{alert.name}, {alert.subject}" if alert.subject else alert.name
        lines.append(f"{heading}: {'firing' if alert.is_firing else 'resolved'}")
    lines += [f"{fact.title}: {fact.text}" for fact in facts_to_read(alert)]
    lines += [f"{link.title}: {link.url}" for link in links(alert)]
    return "\n".join(lines)
