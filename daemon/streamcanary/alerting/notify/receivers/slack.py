"""``slack``: a Slack channel, through an incoming webhook.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and
https://docs.slack.dev/reference/block-kit/blocks
"""

from pathlib import Path
from typing import Any, ClassVar, Literal

import httpx2
import msgspec
from pydantic import model_validator

from streamcanary.alerting.notify.delivery.receiver_url import SecretUrl, check_url
from streamcanary.alerting.notify.delivery.response_check import SuccessResponse, retry_for_web_page
from streamcanary.alerting.notify.delivery.result import Accepted, DeliveryResult, Refused, Retry
from streamcanary.alerting.notify.message import Alert, Message
from streamcanary.alerting.notify.receivers.base import (
    HttpReceiver,
    check_value_or_file,
    retry_for_unusable_secret,
    value_or_file,
)
from streamcanary.alerting.notify.text_format import Fact, disarm_mentions, facts_to_read, heading, links, truncate
from streamcanary.model.config_types.secret import SecretUnreadable

_MAX_HEADER_LENGTH = 150
_MAX_SECTION_LENGTH = 3000
_MAX_FIELD_LENGTH = 2000
_MAX_FACT_LENGTH = 600  # characters of one fact, so that several fit into a section
_MAX_SUMMARY_LENGTH = 500
_MAX_FIELDS = 10
_MAX_ALERTS = 15  # three blocks each; Slack accepts 50 blocks
_MAX_BLOCKS_LENGTH = 12_000  # characters of all blocks; Slack refuses more even if each block is short enough
_CODE_FACTS = ("request_ids", "trace_ids")
_LONG_FACTS = ("failing", "unaffected", "message", "diagnosis", "reason", "resolves")


class Slack(HttpReceiver):
    """An event receiver: sends a message when a group opens, at each update, and when it resolves.

    Slack cannot deduplicate: if its response is lost, the message is sent again. A resolve is a new message ("Resolved
    after 12m"), not a change of the first. Slack accepts about one message a second.

    Third-party text is sent as plain text or as code, where it can neither mention anyone nor break the format. ``url``
    is the URL of the incoming webhook, and secret. Servers that imitate Slack work if they respond like it: a success
    is the body ``ok`` with any content type. Another 2xx response is not from Slack, and the message may not have
    been posted.
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
        """Return the webhook URL."""
        return (check_url(value_or_file(self.url, self.url_file).reveal()),)

    async def send(self, http: httpx2.AsyncClient, message: Message, now: float) -> DeliveryResult:
        """Deliver ``message``; raise nothing but cancellation."""
        try:
            (url,) = self.read_secrets()
        except (SecretUnreadable, ValueError) as error:
            return retry_for_unusable_secret(error)
        return await self.deliver(
            http, url, msgspec.json.encode(render_slack(message)), now, check_response=_check_response
        )


def _check_response(response: SuccessResponse) -> DeliveryResult:
    if response.text == "ok":  # Slack sends it as text/html
        return Accepted()
    if response.text is None:
        return Retry(reason=f"HTTP {response.status}, but the connection was lost during the response")
    if response.is_web_page:
        return retry_for_web_page(response)
    return Refused(
        f"HTTP {response.status} without the response `ok` of Slack; check the URL: {response.text or 'empty body'}"
    )


def render_slack(message: Message) -> dict[str, Any]:
    """Return the body of the request for ``message``, within the limits of Slack."""
    title = heading(message)
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain_text(title, _MAX_HEADER_LENGTH)}]
    is_complete = len(_escape(disarm_mentions(title), _MAX_SECTION_LENGTH)) <= _MAX_HEADER_LENGTH
    shown, remaining_length, firing = 0, _MAX_BLOCKS_LENGTH, len(message.firing_alerts)
    for number, alert in enumerate(message.alerts[:_MAX_ALERTS]):
        is_title = is_complete and message.alert_count == 1 and title.endswith(alert.summary)
        alert_blocks = _alert_blocks(alert, is_title=is_title)
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


def _alert_blocks(alert: Alert, *, is_title: bool) -> list[dict[str, Any]]:
    """Return the blocks of an alert; its summary is left out if the title has it."""
    known = facts_to_read(alert)
    short_facts = [
        fact for fact in known if fact.key in _CODE_FACTS or (not fact.is_quoted and fact.key not in _LONG_FACTS)
    ]
    long_facts = [fact for fact in known if fact not in short_facts]
    link_list = " · ".join(_link(link.title, link.url) for link in links(alert))
    section: dict[str, Any] = {"type": "section"}
    if not is_title or not short_facts:  # a section needs one of text and fields
        section["text"] = _plain_text(alert.summary, _MAX_SUMMARY_LENGTH)
    if short_facts:  # Slack refuses an empty list
        section["fields"] = [_field(fact) for fact in short_facts[:_MAX_FIELDS]]
    state = "firing" if alert.is_firing else "resolved"
    blocks: list[dict[str, Any]] = [section]
    if long_facts:
        text = "\n".join(f"{fact.title}: {truncate(fact.text, _MAX_FACT_LENGTH)}" for fact in long_facts)
        blocks.append({"type": "section", "text": _plain_text(text, _MAX_SECTION_LENGTH)})
    footer = " ".join([*(_code(name) for name in (alert.alert, alert.subject) if name), state])
    blocks.append(_context(f"{footer} · {link_list}" if link_list and len(link_list) < _MAX_FIELD_LENGTH else footer))
    return blocks


def _field(fact: Fact) -> dict[str, Any]:
    text = _code(fact.text) if fact.is_quoted else _escape(fact.text, _MAX_FIELD_LENGTH - 100)
    return _mrkdwn(f"*{fact.title}*\n{text}")


def _plain_text(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": _escape(disarm_mentions(text), limit) or "-", "emoji": False}


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}  # turns off automatic links and mentions


def _context(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [_mrkdwn(text)]}


def _code(text: str) -> str:
    """Return ``text`` as inline code, which Slack does not format and people can copy."""
    flat = disarm_mentions(" ".join(text.replace("`", "'").split()))
    return f"`{_escape(flat, _MAX_FACT_LENGTH) or '-'}`"


def _link(title: str, url: str) -> str:
    return f"<{url.replace('&', '&amp;')}|{_escape(title.replace('|', ' '), 100)}>"


def _escape(text: str, limit: int) -> str:
    """Return ``text`` with the three special characters of Slack escaped, at most ``limit`` characters long."""
    parts: list[str] = []
    remaining = limit
    for number, character in enumerate(text, 1):
        escaped = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}.get(character, character)
        if len(escaped) + (number < len(text)) > remaining:
            parts.append("…")
            break
        remaining -= len(escaped)
        parts.append(escaped)
    return "".join(parts)
