"""``slack``: a channel of Slack, by an incoming webhook.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and
https://docs.slack.dev/reference/block-kit/blocks
"""

from pathlib import Path
from typing import Any, ClassVar, Literal

import httpx2
import msgspec
from pydantic import model_validator

from streamcanary.alerting.notify.message import Alert, Message
from streamcanary.alerting.notify.receivers.base import (
    HttpReceiver,
    check_value_or_file,
    retry_for_unusable_secret,
    value_or_file,
)
from streamcanary.alerting.notify.receivers.delivery_result import Accepted, DeliveryResult, Refused, Retry
from streamcanary.alerting.notify.receivers.response_check import SuccessResponse, retry_for_web_page
from streamcanary.alerting.notify.receivers.url import SecretUrl, check_url
from streamcanary.alerting.notify.text import Fact, disarm_mentions, facts, links, status, truncate
from streamcanary.model.config_types.secret import SecretUnreadable

_MAX_HEADER_LENGTH = 150
_MAX_SECTION_LENGTH = 3000
_MAX_FIELD_LENGTH = 2000
_MAX_FACT_LENGTH = 600  # of one fact, so that several have room in a section
_MAX_SUMMARY_LENGTH = 500
_MAX_FIELDS = 10
_MAX_ALERTS = 15  # three blocks each, and Slack takes 50
_MAX_BLOCKS_LENGTH = 12_000  # characters of all blocks; longer ones are refused although each of them is short enough
_CODE_FACTS = ("request_ids", "trace_ids")
_LONG_FACTS = ("message", "diagnosis", "reason", "resolves")


class Slack(HttpReceiver):
    """An edge receiver: a message when a group of alerts begins to fire, one at each change of it, one when it is over.

    Slack knows no key of a message: it cannot deduplicate, so that one whose answer is lost comes again; and that it
    is over is a new message ("Resolved after 12m"), not a change of the first. It takes about one message a second.

    What others wrote stands in plain text and between backticks, where it can neither mention anybody nor break the
    format. ``url`` is that of the incoming webhook, and a secret; servers that imitate Slack's take it, too, if they
    answer as it does: a success is the word ``ok``, whatever its content type. Another success is not Slack's, and
    nobody may have seen the message.
    """

    is_state_receiver: ClassVar[bool] = False
    can_deduplicate: ClassVar[bool] = False

    type: Literal["slack"]
    url: SecretUrl | None = None
    url_file: Path | None = None

    @model_validator(mode="after")
    def _check_one_url(self) -> "Slack":
        check_value_or_file(self, "url")
        return self

    def read_secrets(self) -> tuple[str]:
        """Return the address."""
        return (check_url(value_or_file(self.url, self.url_file).reveal()),)

    async def send(self, http: httpx2.AsyncClient, message: Message, now: float) -> DeliveryResult:
        """Deliver ``page``. Raises nothing but cancellation."""
        try:
            (url,) = self.read_secrets()
        except (SecretUnreadable, ValueError) as error:
            return retry_for_unusable_secret(error)
        return await self.deliver(
            http, url, msgspec.json.encode(_message(message, now)), now, check_response=_check_response
        )


def _check_response(response: SuccessResponse) -> DeliveryResult:
    if response.text == "ok":  # Slack sends it as text/html
        return Accepted()
    if response.text is None:
        return Retry(reason=f"HTTP {response.status}, and the answer broke off")
    if response.is_web_page:
        return retry_for_web_page(response)
    return Refused(
        f"HTTP {response.status} without the ok of Slack, so it is not Slack: {response.text or 'it says nothing'}"
    )


def _message(message: Message, now: float) -> dict[str, Any]:
    title = f"{status(message, now)}: {message.title}"
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain_text(title, _MAX_HEADER_LENGTH)}]
    shown, remaining_length, firing = 0, _MAX_BLOCKS_LENGTH, len(message.firing_alerts)
    for number, alert in enumerate(message.alerts[:_MAX_ALERTS]):
        alert_blocks = _alert_blocks(alert)
        if number == firing and firing:
            alert_blocks.insert(0, _context("no longer firing:"))
        remaining_length -= len(msgspec.json.encode(alert_blocks))
        if remaining_length < 0 and shown:
            break
        blocks += alert_blocks
        shown += 1
    if message.alert_count > shown:
        blocks.append(_context(f"and {message.alert_count - shown} more"))
    return {
        "text": _escape(disarm_mentions(title), _MAX_SECTION_LENGTH),
        "mrkdwn": False,
        "blocks": blocks,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _alert_blocks(alert: Alert) -> list[dict[str, Any]]:
    known = facts(alert)
    short_facts = [
        fact for fact in known if fact.key in _CODE_FACTS or (not fact.is_quoted and fact.key not in _LONG_FACTS)
    ]
    long_facts = [fact for fact in known if fact not in short_facts]
    where = " · ".join(_link(link.title, link.url) for link in links(alert))
    section: dict[str, Any] = {"type": "section", "text": _plain_text(alert.summary, _MAX_SUMMARY_LENGTH)}
    if short_facts:  # Slack takes no empty list
        section["fields"] = [_field(fact) for fact in short_facts[:_MAX_FIELDS]]
    state = "firing" if alert.is_firing else "resolved"
    blocks: list[dict[str, Any]] = [section]
    if long_facts:
        text = "\n".join(f"{fact.title}: {truncate(fact.text, _MAX_FACT_LENGTH)}" for fact in long_facts)
        blocks.append({"type": "section", "text": _plain_text(text, _MAX_SECTION_LENGTH)})
    footer = " ".join([*(_code(name) for name in (alert.alert, alert.subject) if name), state])
    blocks.append(_context(f"{footer} · {where}" if where and len(where) < _MAX_FIELD_LENGTH else footer))
    return blocks


def _field(fact: Fact) -> dict[str, Any]:
    text = _code(fact.text) if fact.is_quoted else _escape(fact.text, _MAX_FIELD_LENGTH - 100)
    return _mrkdwn(f"*{fact.title}*\n{text}")


def _plain_text(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": _escape(disarm_mentions(text), limit) or "-", "emoji": False}


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}  # nothing in it becomes a mention or link by itself


def _context(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [_mrkdwn(text)]}


def _code(text: str) -> str:
    """Return ``text`` as code: nothing in it is formatted, and it can be copied as it is."""
    flat = disarm_mentions(" ".join(text.replace("`", "'").split()))
    return f"`{_escape(flat, _MAX_FACT_LENGTH) or '-'}`"


def _link(title: str, url: str) -> str:
    return f"<{url.replace('&', '&amp;')}|{_escape(title.replace('|', ' '), 100)}>"


def _escape(text: str, limit: int) -> str:
    """Return ``text`` with the three characters that mean something to Slack replaced, at most ``limit`` long."""
    parts: list[str] = []
    remaining = limit
    for number, character in enumerate(text, 1):
        written = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}.get(character, character)
        if len(written) + (number < len(text)) > remaining:
            parts.append("…")
            break
        remaining -= len(written)
        parts.append(written)
    return "".join(parts)
