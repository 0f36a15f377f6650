"""Alerts in scenarios: open incidents, history, receivers, silences."""

from msgspec import Struct

from streamcanary.model.alerts.incident import Evidence, Incident, MemberCounts
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.alerts.status_snapshot import OpenIncident, StatusSnapshot, UndeliveredNotification
from streamcanary.model.status.alert_history import MaintenanceWindow, PastIncident, ReceiverStatus, TimelineEvent
from support.status.canaries import HOSTILE, NOON


class AlertScenario(Struct, frozen=True, kw_only=True):
    """What alerting knows at :data:`NOON`."""

    status: StatusSnapshot = StatusSnapshot()
    history: tuple[PastIncident, ...] = ()
    receivers: tuple[ReceiverStatus, ...] = ()
    silences: tuple[Silence, ...] = ()
    maintenance: tuple[MaintenanceWindow, ...] = ()


def make_open_incident(message: str = "stalled: no token for 5 s", **changes: object) -> OpenIncident:
    """Return the open incident of an outage of openai."""
    names = ("chat-mini", "chat-large", "support-bot", "search-answers", "summaries", "translate")
    incident = Incident(
        key="k1",
        rule="LLMErrorSpike",
        subject="target openai",
        scope="target",
        member_count=8,
        labels={"severity": "page", "target": "openai"},
        opened=NOON - 330,
        resolve_condition="6 good runs in a row",
        evidence=Evidence(
            bad=31,
            total=48,
            first_attempts=40,
            rescued=4,
            since=NOON - 390,
            faults={"stalled": 29, "rate_limited": 2},
            blames={"provider": 29, "quota": 2},
            message=message,
            trace_ids=("f" * 32,),
            request_ids=("req_8f1c",),
            diagnosis="DNS, TCP and TLS work; GET /v1/models answers 200 in 180 ms",
            failing=tuple(MemberCounts(name, 5, 6) for name in names),
            failing_count=6,
            unaffected=("batch", "embed"),
            unaffected_count=2,
        ),
    )
    return OpenIncident(incident=incident, annotations={"runbook_url": "https://run.book/llm"}, **changes)  # type: ignore[arg-type]


def make_past_incident(number: int, *, days_ago: float, minutes: float | None, **changes: object) -> PastIncident:
    """Return incident ``number``, which began ``days_ago`` and lasted ``minutes``; ``None``: it fires."""
    opened = NOON - days_ago * 86400
    resolved = None if minutes is None else opened + minutes * 60
    timeline = [
        TimelineEvent(kind="first_failure", at=opened - 60, text="chat-mini: stalled"),
        TimelineEvent(kind="fired", at=opened),
        TimelineEvent(kind="notified", at=opened + 12, receiver="oncall"),
        TimelineEvent(kind="refused", at=opened + 14, receiver="chat", text="HTTP 404"),
    ]
    if resolved is not None:
        timeline.append(TimelineEvent(kind="resolved", at=resolved, text="6 good runs in a row"))
        timeline.append(TimelineEvent(kind="resolve_notified", at=resolved + 3, receiver="oncall"))
    fields: dict[str, object] = {
        "id": f"i{number}",
        "key": "k1" if minutes is None else f"old{number}",
        "rule": "LLMErrorSpike" if number % 3 else "LLMSlowFirstToken",
        "subject": "target openai" if number % 2 else "claude-chat",
        "severity": "page" if number % 3 else "ticket",
        "opened": opened,
        "since": opened - 60,
        "resolved": resolved,
        "resolve_reason": None if resolved is None else "6 good runs in a row",
        "summary": "openai: 6 of 8 canaries fail (stalled)" if number % 2 else "claude-chat slow: first token over 2 s",
        "bad": 31,
        "total": 48,
        "faults": {"stalled": 29, "rate_limited": 2} if number % 2 else {"first_token_timeout": 4},
        "message": "stalled: no token for 5 s",
        "canaries": ("chat-mini", "chat-large"),
        "timeline": tuple(timeline),
        **changes,
    }
    return PastIncident(**fields)  # type: ignore[arg-type]


def quiet() -> AlertScenario:
    """Return alerting when nothing fires and nothing has fired."""
    return AlertScenario(receivers=(ReceiverStatus(name="oncall", type="pagerduty", state="unused"),))


def alarmed(message: str = "stalled: no token for 5 s") -> AlertScenario:
    """Return an outage: one incident is open, one receiver refuses, one retries, and a silence and a window exist."""
    undelivered = UndeliveredNotification(
        receiver="chat",
        action="trigger",
        title="LLMErrorSpike: openai failing",
        since=NOON - 316,
        attempts=1,
        is_parked=True,
        last_error=f"HTTP 404 {message[:100]}",
    )
    past = [(1, 0.004, None), (2, 1.3, 22), (3, 4.1, 7), (4, 4.6, 48), (5, 11.2, 390), (6, 19.5, 4), (7, 26.8, 95)]
    return AlertScenario(
        status=StatusSnapshot(
            incidents=(make_open_incident(message),), firing_count=1, undelivered=(undelivered,), undelivered_count=1
        ),
        history=tuple(make_past_incident(number, days_ago=ago, minutes=length) for number, ago, length in past),
        receivers=(
            ReceiverStatus(name="oncall", type="pagerduty", state="ok", last_accepted=NOON - 318),
            ReceiverStatus(
                name="chat", type="slack", state="refused", last_accepted=NOON - 86400, pending=1, last_error="HTTP 404"
            ),
            ReceiverStatus(name="mail", type="email", state="unused"),
        ),
        silences=(
            Silence(
                id="s1", match=('canary="batch"',), starts=NOON - 600, until=NOON + 6600, by="ana", why="load test"
            ),
        ),
        maintenance=(
            MaintenanceWindow(
                name="friday-deploy", match=('tier="prod"',), starts=NOON + 32400, ends=NOON + 32400 + 1800
            ),
        ),
    )


def hostile() -> AlertScenario:
    """Return alerting whose third-party texts are hostile."""
    return alarmed(HOSTILE)
