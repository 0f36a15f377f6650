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

from streamcanary.alerting.notify.message import Alert, Page
from streamcanary.alerting.notify.receivers.base import Terms, undelivered
from streamcanary.alerting.notify.receivers.blocking_call import Errand
from streamcanary.alerting.notify.receivers.delivery_result import Answer
from streamcanary.alerting.notify.receivers.url import revealing
from streamcanary.alerting.notify.text import clip, facts, links, quiet, status
from streamcanary.model.alerts.incident import Action
from streamcanary.model.config_types.duration import PositiveDuration
from streamcanary.model.config_types.secret import Secret, SecretUnreadable, scrub

if TYPE_CHECKING:
    from apprise import NotifyBase

_MOST_ADDRESSES = 16
_MOST_ALERTS = 10
_LONGEST_TITLE = 200
_LONGEST_BODY = 16_000
_SHORTEST_BODY = 100
_SHORTEST_TOKEN = 10
_ADVICE = (
    "is no address that Apprise knows, such as mailtos://user:password@example.com?to=oncall@example.com; "
    "see https://appriseit.com/services/"
)
_KINDS = {Action.TRIGGER: "failure", Action.UPDATE: "warning", Action.RESOLVE: "success"}


def _check(url: str) -> str:
    if _service(url) is None:
        raise ValueError(_ADVICE)
    return url


def _address(value: Secret) -> Secret:
    _check(value.reveal())
    return value


class Apprise(Terms):
    """An edge receiver: a message in words when a group of alerts begins to fire, at each change, and when it is over.

    It cannot deduplicate and cannot resolve: what comes twice is there twice, and that it is over is one more message.
    It cannot tell what will never be taken from what will be later, either, so that it tries for as long as the group
    matters. So it is no way to page anybody; it is one to write mails and into chat rooms.

    ``urls`` are the addresses as Apprise writes them, all of them secret; ``urls_file`` has one on each line, where
    ``#`` begins a comment, and is read again when it changes. An address that has taken a message is spared when the
    others are tried again. Proxies and authorities are those of the environment. ``timeout`` (seconds) is how long an
    answer is waited for; a delivery that takes longer goes on, and no other begins before it has ended.
    """

    level: ClassVar[bool] = False
    keyed: ClassVar[bool] = False
    caveat: ClassVar[str] = (
        "apprise can neither deduplicate nor resolve: a message may come twice, and that an alert is over is one more"
    )

    type: Literal["apprise"]
    urls: (
        Annotated[
            tuple[Annotated[Secret, AfterValidator(_address)], ...], Field(min_length=1, max_length=_MOST_ADDRESSES)
        ]
        | None
    ) = None
    urls_file: Path | None = None
    timeout: Annotated[PositiveDuration, Field(le=60)] = 30.0

    _errand: Errand = PrivateAttr(default_factory=Errand)

    @model_validator(mode="after")
    def _one_of_both(self) -> "Apprise":
        if (self.urls is None) is (self.urls_file is None):
            raise ValueError("needs exactly one of urls and urls_file")
        return self

    def obstacle(self) -> str | None:
        """Say what keeps it from being told, as far as can be seen without asking it. Reads files."""
        try:
            for url in self.reveal():
                _check(url)
        except (SecretUnreadable, ValueError) as error:
            return undelivered(error).reason
        return None

    def reveal(self) -> tuple[str, ...]:
        """Return the addresses.

        Raises:
            SecretUnreadable: if their file cannot be read.
            ValueError: if it holds none, or too many.
        """
        if self.urls is not None:
            return tuple(secret.reveal() for secret in self.urls)
        lines = (line.strip() for line in Secret(path=self.urls_file).reveal().splitlines())
        urls = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
        if not 0 < len(urls) <= _MOST_ADDRESSES:
            raise ValueError(f"must be 1 to {_MOST_ADDRESSES} addresses, one on each line")
        return urls

    async def send(self, http: httpx2.AsyncClient, page: Page, now: float) -> Answer:
        """Deliver ``page``. Raises nothing but cancellation."""
        try:
            urls = self.reveal()
        except (SecretUnreadable, ValueError) as error:
            return undelivered(error)
        title = clip(quiet(f"{status(page, now)}: {page.title}"), _LONGEST_TITLE)

        def deliver(url: str) -> str | None:
            return _notify(url, title, _body(page), _KINDS[page.action])

        return await self._errand.run(page.id, urls, deliver, self.timeout)


def _notify(url: str, title: str, body: str, kind: str) -> str | None:
    """Deliver to one address, however long that takes; return what went wrong."""
    import apprise

    service = _service(url)
    if service is None:
        return f"an address in the file {_ADVICE}"
    room = min(_LONGEST_BODY, max(_SHORTEST_BODY, service.body_maxlen - len(title) - 2))  # some put the title in front
    sender = apprise.Apprise(asset=_asset())
    sender.add(service)
    try:
        result = sender.notify(body=clip(body, room), title=title, notify_type=kind, body_format="text")
    except Exception as error:  # noqa: BLE001 - plugins are the work of many; what one raises is told as the reason
        said = f"{type(error).__name__}: {error}"
    else:
        if result:
            return None
        said = "; ".join(dict.fromkeys(entry.message for entry in result.logs())) or "not taken, without a reason"
    return f"{service.service_name}: {scrub(said, _hidden(url), 200)}"


def _hidden(url: str) -> set[str]:
    """Return what must not be shown of ``url``; where a host would stand, many services have a token."""
    hidden = set(revealing(url))
    try:
        host = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return hidden
    return hidden if "." in host or ":" in host or len(host) < _SHORTEST_TOKEN else hidden | {host, host.lower()}


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


def _body(page: Page) -> str:
    shown, firing = page.alerts[:_MOST_ALERTS], len(page.firing)
    told = [_told(alert) for alert in shown]
    if page.total > len(shown):
        told.append(f"and {page.total - len(shown)} more")
    if 0 < firing < len(shown):
        told.insert(firing, "No longer firing:")
    return quiet("\n\n".join(told))


def _told(alert: Alert) -> str:
    whose = f"{alert.name}, {alert.subject}" if alert.subject else alert.name
    lines = [alert.summary, f"{whose}: {'firing' if alert.firing else 'resolved'}"]
    lines += [f"{fact.title}: {fact.text}" for fact in facts(alert)]
    lines += [f"{link.title}: {link.url}" for link in links(alert)]
    return "\n".join(lines)
