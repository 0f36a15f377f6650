"""``apprise``: mail, and any other service that the library Apprise has a plugin for.

https://appriseit.com/services/
"""

import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

import httpx2
from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from streamcanary.alerting.notify.message import Alert, Message
from streamcanary.alerting.notify.receivers.base import BaseReceiver, retry_for_unusable_secret
from streamcanary.alerting.notify.receivers.blocking_call import BlockingCall
from streamcanary.alerting.notify.receivers.delivery_result import DeliveryResult
from streamcanary.alerting.notify.receivers.url import secret_parts
from streamcanary.alerting.notify.text import disarm_mentions, facts, links, status, truncate
from streamcanary.model.alerts.incident import Action
from streamcanary.model.config_types.duration import PositiveDuration
from streamcanary.model.config_types.secret import Secret, SecretUnreadable, scrub

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
    """An edge receiver: a message in words when a group of alerts begins to fire, at each change, and when it is over.

    It cannot deduplicate and cannot resolve: what comes twice is there twice, and that it is over is one more message.
    It cannot tell what will never be taken from what will be later, either, so that it tries for as long as the group
    matters. So it is no way to page anybody; it is one to write mails and into chat rooms.

    ``urls`` are the addresses as Apprise writes them, all of them secret; ``urls_file`` has one on each line, where
    ``#`` begins a comment, and is read again when it changes. An address that has taken a message is spared when the
    others are tried again. Proxies and authorities are those of the environment. ``timeout`` (seconds) is how long an
    answer is waited for; a delivery that takes longer goes on, and no other begins before it has ended.
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
        """Say what keeps it from being told, as far as can be seen without asking it. Reads files."""
        try:
            for url in self.read_secrets():
                _check_url(url)
        except (SecretUnreadable, ValueError) as error:
            return retry_for_unusable_secret(error).reason
        return None

    def read_secrets(self) -> tuple[str, ...]:
        """Return the addresses.

        Raises:
            SecretUnreadable: if their file cannot be read.
            ValueError: if it holds none, or too many.
        """
        if self.urls is not None:
            return tuple(secret.reveal() for secret in self.urls)
        lines = (line.strip() for line in Secret(path=self.urls_file).reveal().splitlines())
        urls = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
        if not 0 < len(urls) <= _MAX_URLS:
            raise ValueError(f"must be 1 to {_MAX_URLS} addresses, one on each line")
        return urls

    async def send(self, http: httpx2.AsyncClient, message: Message, now: float) -> DeliveryResult:
        """Deliver ``page``. Raises nothing but cancellation."""
        try:
            urls = self.read_secrets()
        except (SecretUnreadable, ValueError) as error:
            return retry_for_unusable_secret(error)
        title = truncate(disarm_mentions(f"{status(message, now)}: {message.title}"), _MAX_TITLE_LENGTH)

        def deliver(url: str) -> str | None:
            return _notify(url, title, _body(message), _NOTIFY_TYPES[message.action])

        return await self._blocking_call.run(message.id, urls, deliver, self.timeout)


def _notify(url: str, title: str, body: str, kind: str) -> str | None:
    """Deliver to one address, however long that takes; return what went wrong."""
    import apprise

    service = _service(url)
    if service is None:
        return f"an address in the file {_ADVICE}"
    room = min(
        _MAX_BODY_LENGTH, max(_MIN_BODY_LENGTH, service.body_maxlen - len(title) - 2)
    )  # some put the title in front
    sender = apprise.Apprise(asset=_asset())
    sender.add(service)
    try:
        result = sender.notify(body=truncate(body, room), title=title, notify_type=kind, body_format="text")
    except Exception as error:  # noqa: BLE001 - plugins are the work of many; what one raises is told as the reason
        reason = f"{type(error).__name__}: {error}"
    else:
        if result:
            return None
        reason = "; ".join(dict.fromkeys(entry.message for entry in result.logs())) or "not taken, without a reason"
    return f"{service.service_name}: {scrub(reason, _secret_parts(url), 200)}"


def _secret_parts(url: str) -> set[str]:
    """Return what must not be shown of ``url``; where a host would stand, many services have a token."""
    secrets = set(secret_parts(url))
    try:
        host = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return secrets
    return secrets if "." in host or ":" in host or len(host) < _MIN_TOKEN_LENGTH else secrets | {host, host.lower()}


def _service(url: str) -> "NotifyBase | None":
    """Return the plugin for ``url``, set up; ``None`` if there is none."""
    import apprise

    return apprise.Apprise.instantiate(url, asset=_asset(), suppress_exceptions=True)


@cache
def _asset() -> Any:
    """Return how Apprise is to behave: in the thread that calls, without a file of its own, and silent."""
    import apprise

    # What it logs comes back with each result, and is told from there, scrubbed.
    logger = logging.getLogger("apprise")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return apprise.AppriseAsset(
        app_id="streamcanary",
        app_desc="streamcanary",
        async_mode=False,
        storage_mode="memory",
        service_timeout=0,
    )


def _body(message: Message) -> str:
    shown, firing = message.alerts[:_MAX_ALERTS], len(message.firing_alerts)
    paragraphs = [_alert_text(alert) for alert in shown]
    if message.alert_count > len(shown):
        paragraphs.append(f"and {message.alert_count - len(shown)} more")
    if 0 < firing < len(shown):
        paragraphs.insert(firing, "No longer firing:")
    return disarm_mentions("\n\n".join(paragraphs))


def _alert_text(alert: Alert) -> str:
    heading = f"{alert.name}, {alert.subject}" if alert.subject else alert.name
    lines = [alert.summary, f"{heading}: {'firing' if alert.is_firing else 'resolved'}"]
    lines += [f"{fact.title}: {fact.text}" for fact in facts(alert)]
    lines += [f"{link.title}: {link.url}" for link in links(alert)]
    return "\n".join(lines)
