"""Typical outages, and the notification that the alert engine makes of each."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from streamcanary.model.alerts.incident import Notification
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import Attempt, OutcomeKind

from .outage import EVERY, Outage, canary, fault

STALLED: Final = fault(FaultKind.STALLED, "no token for 5 s after 12 tokens")
OVERLOADED: Final = fault(FaultKind.OVERLOADED, "The engine is overloaded, please try again later", status=503)
HOSTILE: Final = (
    "<!channel> @everyone *Resolved*, all is well <https://evil.example|status page> `code` "
    "\u202eesrever\x1b[2J\r\nSince: yesterday\r\napi_key=sk-proj-abcdefghijklmnopqrstuvwxyz0123456789 " + "A" * 2000
)
_CHAT: Final = "chat-mini"
_EIGHT: Final = tuple(f"{name}-{model}" for name in ("chat", "search", "tools", "batch") for model in ("mini", "large"))
_POOLED: Final[dict[str, Any]] = {
    "LLMErrorSpike": {
        "per": "target",
        "detector": {"type": "ratio", "over": "5m", "threshold": "50%", "min_samples": 16},
        "labels": {"severity": "page"},
        "annotations": {"runbook_url": "https://runbooks.example.com/{alert}"},
    }
}


class Scenario(NamedTuple):
    """An outage: its ``name`` in file names, its ``title`` in the documentation, and what makes its notification."""

    name: str
    title: str
    run: Callable[[], tuple[Outage, Notification]]


def _stall() -> tuple[Outage, Notification]:
    outage = Outage(_CHAT, "search-large")
    outage.run(_CHAT, STALLED)
    outage.diagnose(_CHAT, "DNS, TCP and TLS succeed; a short request without streaming is answered in 0.8 s")
    outage.wait(EVERY)
    outage.rounds(5, {_CHAT: STALLED})
    return outage, outage.notification


def _provider_outage() -> tuple[Outage, Notification]:
    outage = Outage(*_EIGHT, rules=_POOLED)
    outage.rounds(4, dict.fromkeys(_EIGHT[:6], OVERLOADED))
    outage.wait(10)
    return outage, outage.notification


def _fallback() -> tuple[Outage, Notification]:
    outage = Outage(_CHAT)
    for _ in range(5):
        primary = [
            Attempt(number=n, route="primary", started=outage.now - 9 + 2 * n, duration=2.0, fault=OVERLOADED)
            for n in (1, 2, 3)
        ]
        answered = Attempt(number=4, route="gpt-4.1-mini", started=outage.now - 1, duration=0.9)
        outage.run(_CHAT, OVERLOADED, kind=OutcomeKind.FAILED_OVER, attempts=(*primary, answered))
        outage.wait(EVERY)
    return outage, outage.notification


def _quota() -> tuple[Outage, Notification]:
    error = fault(FaultKind.RATE_LIMITED, "Rate limit reached: limit 200000 TPM, used 199870", status=429)
    outage = Outage(_CHAT)
    outage.rounds(6, {_CHAT: error})
    return outage, outage.notification


def _rejected() -> tuple[Outage, Notification]:
    error = fault(FaultKind.AUTH_FAILED, "Incorrect API key provided: sk-proj-***", status=401)
    outage = Outage(_CHAT, "search-large")
    outage.rounds(3, dict.fromkeys((_CHAT, "search-large"), error))
    return outage, outage.notification


def _egress() -> tuple[Outage, Notification]:
    lost = fault(FaultKind.CONNECT_TIMEOUT, "no connection to the host within 5 s")
    hosts = {"openai": "api.openai.com", "anthropic": "api.anthropic.com", "mistral": "api.mistral.ai"}
    outage = Outage(canaries=[canary(f"chat-{name}", target=name, host=host) for name, host in hosts.items()])
    outage.rounds(1, {})
    outage.rounds(3, dict.fromkeys(outage.canaries, lost))
    return outage, outage.notification


def _slow() -> tuple[Outage, Notification]:
    rule = {
        "measure": "first_token",
        "limit": "2s",
        "detector": {"type": "ratio", "over": "10 runs", "threshold": "60%", "min_samples": 10},
        "labels": {"severity": "ticket"},
    }
    outage = Outage(_CHAT, rules={"LLMSlowFirstToken": rule})
    for number in range(12):
        first_token = 0.4 if number < 4 else 3.1
        attempt = Attempt(
            number=1, route="primary", started=outage.now - 5, duration=4.4, time_to_first_token=first_token
        )
        outage.run(_CHAT, attempts=(attempt,), time_to_first_token=first_token)
        outage.wait(EVERY)
    return outage, outage.notification


def _resolved() -> tuple[Outage, Notification]:
    outage, _ = _stall()
    outage.accept()
    outage.rounds(14, {_CHAT: STALLED})
    outage.rounds(5, {})
    return outage, outage.notification


def _update() -> tuple[Outage, Notification]:
    outage, _ = _stall()
    outage.accept()
    outage.rounds(12, dict.fromkeys((_CHAT, "search-large"), STALLED))
    return outage, outage.notification


def _no_data() -> tuple[Outage, Notification]:
    rule = {"enabled": True, "detector": {"type": "no_data", "runs": 3}, "labels": {"severity": "page"}}
    outage = Outage(_CHAT, rules={"NoData": rule})
    outage.rounds(2, {})
    outage.wait(180)
    return outage, outage.notification


def _hostile() -> tuple[Outage, Notification]:
    outage = Outage(_CHAT)
    outage.rounds(6, {_CHAT: fault(FaultKind.STREAM_ERROR, HOSTILE)})
    return outage, outage.notification


def _many() -> tuple[Outage, Notification]:
    names = tuple(f"chat-{number:02d}" for number in range(1, 61))
    outage = Outage(*names)
    outage.rounds(6, dict.fromkeys(names, OVERLOADED))
    return outage, outage.notification


SCENARIOS: Final = (
    Scenario("stall", "One canary stalls", _stall),
    Scenario("provider-outage", "The provider fails for six of eight canaries", _provider_outage),
    Scenario("fallback", "The primary fails, and a fallback answers", _fallback),
    Scenario("rate-limited", "The quota is used up", _quota),
    Scenario("key-rejected", "The key is rejected", _rejected),
    Scenario("egress-down", "No provider is reachable", _egress),
    Scenario("slow", "Answers are slow", _slow),
    Scenario("resolved", "The outage is over", _resolved),
    Scenario("update", "A second canary fails", _update),
    Scenario("no-data", "A canary reports nothing", _no_data),
    Scenario("hostile-text", "The provider sends hostile text", _hostile),
    Scenario("many-canaries", "Sixty canaries fail at once", _many),
)
"""All scenarios, in the order of the documentation."""
