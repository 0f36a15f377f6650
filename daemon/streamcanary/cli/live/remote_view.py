"""The live view of a daemon elsewhere, read from its API."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from streamcanary.cli.daemon_client import UNEXPECTED_ANSWER, DaemonClient, DaemonRequestError
from streamcanary.cli.live.view import LiveView
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.status.canary_status import CanaryState, CanaryStatus
from streamcanary.model.status.summary import StatusSummary

_MAX_CANARIES = 200  # of those that are not well, and as many of the others: more than lines on any screen
_NOT_OK = "&".join(f"state={state.value}" for state in CanaryState if state is not CanaryState.OK)
_MAX_ERROR = 200  # characters
_MAX_AGE = 5.0  # seconds after which an answer that the next one has not followed in time is old


class _Replica(Struct):
    name: str


class _Replicas(Struct):
    name: str
    session: int | None = None
    standby: str = ""
    alerts_owner: str = ""
    replicas: list[_Replica] = []


class _Status(Struct):
    summary: StatusSummary
    replicas: _Replicas | None = None


class _Canaries(Struct):
    canaries: list[CanaryStatus]
    total: int


class _Incident(Struct):
    alert: str
    subject: str
    message: str = ""
    bad: int = 0
    total: int = 0
    muted: str | None = None


class _Incidents(Struct):
    incidents: list[_Incident]
    firing: int


class RemoteView:
    """What is known of a daemon. :meth:`load` asks it again, every ``interval`` seconds.

    After a failure the former answer is shown as old, also if the next one is not there 5 s after it is due.
    """

    def __init__(self, client: DaemonClient, interval: float = 0.0) -> None:
        self._client = client
        self._max_age = interval + _MAX_AGE
        self._error: str | None = None
        self._loaded_at = 0.0
        self._view = LiveView(now=time.time(), connection=client.url)

    def load(self) -> None:
        """Ask the daemon.

        Raises:
            DaemonRequestError: if it cannot be reached, or answers something else.
        """
        status = self._get("/api/v1/status", _Status)
        bad = self._get(f"/api/v1/canaries?limit={_MAX_CANARIES}&{_NOT_OK}", _Canaries)
        good = self._get(f"/api/v1/canaries?limit={_MAX_CANARIES}&state={CanaryState.OK.value}", _Canaries)
        incidents = self._get("/api/v1/incidents", _Incidents)
        self._view = LiveView(
            now=time.time(),
            connection=self._client.url + _replica_words(status.replicas),
            summary=status.summary,
            canaries=[*bad.canaries, *good.canaries][: 2 * _MAX_CANARIES],
            canary_count=bad.total + good.total,
            alerts=[_alert_line(each) for each in incidents.incidents[:_MAX_CANARIES]],
            alert_count=incidents.firing,
        )
        self._error, self._loaded_at = None, time.monotonic()

    def try_load(self) -> None:
        """Ask the daemon; if it cannot be reached, that is shown, and it can be asked again."""
        try:
            self.load()
        except DaemonRequestError as error:
            self._error = str(error)

    def current(self, log_lines: Sequence[str]) -> LiveView:
        """Return what is known now."""
        age = time.monotonic() - self._loaded_at
        if self._error is None and age <= self._max_age:
            return msgspec.structs.replace(self._view, now=self._view.now + age, log_lines=log_lines)
        return msgspec.structs.replace(
            self._view,
            now=self._view.now + age,
            connection=f"reconnecting, last update {format_duration(age)} ago",
            is_stale=True,
            log_lines=[*log_lines, (self._error or f"waiting for an answer of {self._client.url}")[:_MAX_ERROR]],
        )

    def _get(self, path: str, document_type: type[Any]) -> Any:
        document = self._client.request("GET", path)
        try:
            return msgspec.convert(document, document_type)
        except (msgspec.ValidationError, RecursionError):
            raise DaemonRequestError(f"{self._client.url}{path.partition('?')[0]}: {UNEXPECTED_ANSWER}") from None


def _replica_words(replicas: _Replicas | None) -> str:
    """Return which replica answers, and what it does; nothing for a daemon that shares its store with no other."""
    if replicas is None:
        return ""
    if replicas.session is None:
        state = "runs no canary"
    elif replicas.standby:
        state = "on standby"
    elif replicas.alerts_owner == replicas.name:
        state = "evaluates alerts"
    else:
        state = f"alerts at {replicas.alerts_owner}" if replicas.alerts_owner else "nobody evaluates alerts"
    return f" · {replicas.name}, {len(replicas.replicas)} in all, {state}"


def _alert_line(incident: _Incident) -> str:
    counts = f"  {incident.bad} of {incident.total}" if incident.total else ""
    muted = f"  (muted: {incident.muted})" if incident.muted else ""
    return f"{incident.alert}  {incident.subject}{counts}  {incident.message}{muted}"
