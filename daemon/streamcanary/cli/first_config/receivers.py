"""The answers to the question who is notified. No answer contains a secret: secrets come from variables."""

from typing import Final, NamedTuple

from streamcanary.cli.first_config.answer_error import AnswerError
from streamcanary.cli.first_config.yaml_text import yaml_text

_ALERTMANAGER: Final = "http://localhost:9093"
_MAX_PEERS: Final = 16  # as in the configuration
CHOICES: Final = "pagerduty, slack, webhook, alertmanager=URL or none"
"""The possible answers, as text."""


class ReceiverChoice(NamedTuple):
    """A receiver: its name, and its settings as YAML; both are empty for none."""

    name: str = ""
    settings: str = ""


def parse_receiver(answer: str) -> ReceiverChoice:
    """Return the receiver for ``pagerduty``, ``slack``, ``webhook``, ``alertmanager=URL,URL`` or ``none``.

    Raises:
        AnswerError: if it is none of these; the message says what would be right.
    """
    kind, equals, value = answer.strip().partition("=")
    kind = kind.strip().lower()
    if kind in _FROM_VARIABLES and not equals:
        return _FROM_VARIABLES[kind]
    if kind == "alertmanager":
        return _alertmanager(value if equals else _ALERTMANAGER)
    if kind in _FROM_VARIABLES:
        variables = _FROM_VARIABLES[kind].settings
        raise AnswerError(f"must be {kind} alone: " + (f"its settings are {variables}" if variables else "no receiver"))
    if "://" in answer:
        raise AnswerError(
            "must name the kind of receiver: alertmanager=URL; or slack or webhook, whose address is a secret and "
            "comes from the variable SLACK_URL or WEBHOOK_URL"
        )
    raise AnswerError(f"must be one of {CHOICES}")


def _alertmanager(value: str) -> ReceiverChoice:
    """Return the receiver for the addresses of the peers of an Alertmanager, separated by commas."""
    from pydantic import TypeAdapter, ValidationError

    from streamcanary.alerting.notify.delivery.receiver_url import BaseUrl

    urls = [each.strip() for each in value.split(",") if each.strip()]
    if not 0 < len(urls) <= _MAX_PEERS:
        raise AnswerError(f"must have 1 to {_MAX_PEERS} addresses, such as alertmanager={_ALERTMANAGER}")
    try:
        urls = TypeAdapter(list[BaseUrl]).validate_python(urls)
    except ValidationError as error:
        message = error.errors(include_input=False, include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise AnswerError(f"{message.replace('https://example.com/hook', _ALERTMANAGER)}") from None
    if not all(url.isprintable() for url in urls):
        raise AnswerError("must not contain control characters")
    return ReceiverChoice("alertmanager", f"{{type: alertmanager, urls: [{', '.join(map(yaml_text, urls))}]}}")


_FROM_VARIABLES: Final = {
    "pagerduty": ReceiverChoice("oncall", '{type: pagerduty, routing_key: "${PAGERDUTY_KEY}"}'),
    "slack": ReceiverChoice("chat", '{type: slack, url: "${SLACK_URL}"}'),
    "webhook": ReceiverChoice("hook", '{type: webhook, url: "${WEBHOOK_URL}", secret: "${WEBHOOK_SECRET}"}'),
    "none": ReceiverChoice(),
}
