"""``slack``: a channel of Slack, by an incoming webhook.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and
https://docs.slack.dev/reference/block-kit/blocks
"""

from pathlib import Path
from typing import Any, ClassVar, Literal

import httpx2
import msgspec
from pydantic import model_validator

from streamcanary.alerting.notify.message import Alert, Page
from streamcanary.alerting.notify.receivers.base import HttpTerms, either, one_of_each, undelivered
from streamcanary.alerting.notify.receivers.delivery_result import Accepted, Answer, Refused, Retry
from streamcanary.alerting.notify.receivers.response_check import Said, web_page
from streamcanary.alerting.notify.receivers.url import SecretAddress, check_address
from streamcanary.alerting.notify.text import Fact, clip, facts, links, quiet, status
from streamcanary.model.config_types.secret import SecretUnreadable

_LONGEST_HEADER = 150
_LONGEST_SECTION = 3000
_LONGEST_FIELD = 2000
_LONGEST_NOTE = 600  # of one fact, so that several have room in a section
_LONGEST_SUMMARY = 500
_MOST_FIELDS = 10
_MOST_ALERTS = 15  # three blocks each, and Slack takes 50
_LARGEST = 12_000  # characters of all blocks; longer ones are refused although each of them is short enough
_LITERALS = ("request_ids", "trace_ids")
_NOTES = ("message", "diagnosis", "reason", "resolves")


class Slack(HttpTerms):
    """An edge receiver: a message when a group of alerts begins to fire, one at each change of it, one when it is over.

    Slack knows no key of a message: it cannot deduplicate, so that one whose answer is lost comes again; and that it
    is over is a new message ("Resolved after 12m"), not a change of the first. It takes about one message a second.

    What others wrote stands in plain text and between backticks, where it can neither mention anybody nor break the
    format. ``url`` is that of the incoming webhook, and a secret; servers that imitate Slack's take it, too, if they
    answer as it does: a success is the word ``ok``, whatever its content type. Another success is not Slack's, and
    nobody may have seen the message.
    """

    level: ClassVar[bool] = False
    keyed: ClassVar[bool] = False

    type: Literal["slack"]
    url: SecretAddress | None = None
    url_file: Path | None = None

    @model_validator(mode="after")
    def _one_address(self) -> "Slack":
        one_of_each(self, "url")
        return self

    def reveal(self) -> tuple[str]:
        """Return the address."""
        return (check_address(either(self.url, self.url_file).reveal()),)

    async def send(self, http: httpx2.AsyncClient, page: Page, now: float) -> Answer:
        """Deliver ``page``. Raises nothing but cancellation."""
        try:
            (url,) = self.reveal()
        except (SecretUnreadable, ValueError) as error:
            return undelivered(error)
        return await self.deliver(http, url, msgspec.json.encode(_message(page, now)), now, consent=_consent)


def _consent(said: Said) -> Answer:
    if said.text == "ok":  # Slack sends it as text/html
        return Accepted()
    if said.text is None:
        return Retry(reason=f"HTTP {said.status}, and the answer broke off")
    if said.is_web_page:
        return web_page(said)
    return Refused(f"HTTP {said.status} without the ok of Slack, so it is not Slack: {said.text or 'it says nothing'}")


def _message(page: Page, now: float) -> dict[str, Any]:
    title = f"{status(page, now)}: {page.title}"
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(title, _LONGEST_HEADER)}]
    shown, room, firing = 0, _LARGEST, len(page.firing)
    for number, alert in enumerate(page.alerts[:_MOST_ALERTS]):
        told = _alert(alert)
        if number == firing and firing:
            told.insert(0, _context("no longer firing:"))
        room -= len(msgspec.json.encode(told))
        if room < 0 and shown:
            break
        blocks += told
        shown += 1
    if page.total > shown:
        blocks.append(_context(f"and {page.total - shown} more"))
    return {
        "text": _escape(quiet(title), _LONGEST_SECTION),
        "mrkdwn": False,
        "blocks": blocks,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _alert(alert: Alert) -> list[dict[str, Any]]:
    known = facts(alert)
    short = [fact for fact in known if fact.key in _LITERALS or (not fact.quoted and fact.key not in _NOTES)]
    notes = [fact for fact in known if fact not in short]
    where = " · ".join(_linked(link.title, link.url) for link in links(alert))
    section: dict[str, Any] = {"type": "section", "text": _plain(alert.summary, _LONGEST_SUMMARY)}
    if short:  # Slack takes no empty list
        section["fields"] = [_field(fact) for fact in short[:_MOST_FIELDS]]
    state = "firing" if alert.firing else "resolved"
    blocks: list[dict[str, Any]] = [section]
    if notes:
        told = "\n".join(f"{fact.title}: {clip(fact.text, _LONGEST_NOTE)}" for fact in notes)
        blocks.append({"type": "section", "text": _plain(told, _LONGEST_SECTION)})
    foot = " ".join([*(_literal(name) for name in (alert.alert, alert.subject) if name), state])
    blocks.append(_context(f"{foot} · {where}" if where and len(where) < _LONGEST_FIELD else foot))
    return blocks


def _field(fact: Fact) -> dict[str, Any]:
    text = _literal(fact.text) if fact.quoted else _escape(fact.text, _LONGEST_FIELD - 100)
    return _mrkdwn(f"*{fact.title}*\n{text}")


def _plain(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": _escape(quiet(text), limit) or "-", "emoji": False}


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}  # nothing in it becomes a mention or link by itself


def _context(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [_mrkdwn(text)]}


def _literal(text: str) -> str:
    """Return ``text`` as code: nothing in it is formatted, and it can be copied as it is."""
    flat = quiet(" ".join(text.replace("`", "'").split()))
    return f"`{_escape(flat, _LONGEST_NOTE) or '-'}`"


def _linked(title: str, url: str) -> str:
    return f"<{url.replace('&', '&amp;')}|{_escape(title.replace('|', ' '), 100)}>"


def _escape(text: str, limit: int) -> str:
    """Return ``text`` with the three characters that mean something to Slack replaced, at most ``limit`` long."""
    parts: list[str] = []
    room = limit
    for number, character in enumerate(text, 1):
        written = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}.get(character, character)
        if len(written) + (number < len(text)) > room:
            parts.append("…")
            break
        room -= len(written)
        parts.append(written)
    return "".join(parts)
