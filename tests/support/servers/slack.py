"""Slack's incoming webhooks on loopback, validated as documented: https://docs.slack.dev."""

import json
import re
from collections.abc import Iterator
from typing import Any

from support.servers.receiver import Behaviour, Delivery, FakeReceiver, Reply

WEBHOOK_PATH = "/services/T0001/B0001/tok3nt0k3ntok3n"
"""The path of the webhook of the channel."""

_MENTION = re.compile(r"<[!@#]|@(?:channel|here|everyone)\b")
_UNESCAPED = re.compile(r"[<>]|&(?!(?:amp|lt|gt);)")
_LINK = re.compile(r"<https?://[^<>|\s]+\|[^<>|]+>")
_MAX_TEXT = 13_200


class FakeSlack(FakeReceiver):
    """A :class:`FakeReceiver` of messages; ``archived`` and ``gone`` are states of the channel and the webhook.

    Every response is ``text/html``, also a success. In addition to Slack's rules it rejects a message that would
    mention a user or channel, or that has an unescaped ``&``, ``<`` or ``>``.
    """

    def __init__(self, *script: Behaviour, archived: bool = False, gone: bool = False, **more: Any) -> None:
        super().__init__(*script, **more)
        self.archived = archived
        self.gone = gone

    def reply(self, delivery: Delivery) -> Behaviour:
        """Validate a message and respond as Slack does."""
        if delivery.path != WEBHOOK_PATH or self.gone:
            return slack_reply(404, b"no_service")
        if self.archived:
            return slack_reply(410, b"channel_is_archived")
        try:
            message = json.loads(delivery.body)
        except ValueError:
            return slack_reply(400, b"invalid_payload")
        if not message.get("text"):
            return slack_reply(400, b"no_text")
        errors = list(_errors(message))
        return slack_reply(400, f"invalid_blocks: {errors}".encode()) if errors else slack_reply(200, b"ok")


def slack_reply(status: int, body: bytes) -> Reply:
    """Return a response in the format of Slack's webhooks."""
    return Reply(status, {"Content-Type": "text/html"}, body)


def _errors(message: dict[str, Any]) -> Iterator[str]:
    blocks = message.get("blocks", [])
    if not 0 < len(blocks) <= 50:
        yield f"{len(blocks)} blocks"
    yield from _markup_errors(message["text"])
    if sum(len(text["text"]) for text in text_objects(message)) > _MAX_TEXT:
        yield "msg_blocks_too_long"
    for block in blocks:
        match block["type"]:
            case "header":
                yield from _text_errors(block["text"], 150, {"plain_text"})
            case "section":
                if "text" in block or "fields" not in block:  # one of the two is required
                    yield from _text_errors(block["text"], 3000)
                fields = block.get("fields", [{"type": "plain_text", "text": "-"}])
                if not 0 < len(fields) <= 10:
                    yield f"{len(fields)} fields"
                for field in fields:
                    yield from _text_errors(field, 2000)
            case "context":
                if not 0 < len(block["elements"]) <= 10:
                    yield f"{len(block['elements'])} elements"
                for element in block["elements"]:
                    yield from _text_errors(element, 3000)
            case other:
                yield f"block {other}"


def text_objects(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every text object of the blocks."""
    for block in message["blocks"]:
        yield from [block["text"]] if "text" in block else []
        yield from [*block.get("fields", []), *block.get("elements", [])]


def _text_errors(text: dict[str, Any], limit: int, kinds: set[str] | None = None) -> Iterator[str]:
    if text["type"] not in (kinds or {"plain_text", "mrkdwn"}):
        yield f"text of type {text['type']}"
    if not 0 < len(text["text"]) <= limit:
        yield f"text of {len(text['text'])} characters"
    if text.keys() - {"type", "text", "emoji" if text["type"] == "plain_text" else "verbatim"}:
        yield f"text with {', '.join(text)}"
    yield from _markup_errors(text["text"])


def _markup_errors(text: str) -> Iterator[str]:
    rest = _LINK.sub("", text)
    if _MENTION.search(rest):
        yield f"mention in {text!r}"
    if _UNESCAPED.search(rest):
        yield f"bare character in {text!r}"
