"""The heartbeat, a dead man's switch: pings a URL only while all liveness checks of the daemon pass."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Self

import httpx2
from pydantic import BaseModel, ConfigDict, Field, model_validator

from streamcanary.alerting.notify.delivery.http import open_http_client
from streamcanary.alerting.notify.delivery.receiver_url import SecretUrl, check_url, secret_parts
from streamcanary.model.clock import Clock
from streamcanary.model.config_types.duration import PositiveDuration
from streamcanary.model.config_types.secret import Secret, SecretUnreadable
from streamcanary.model.redaction.redactor import scrub
from streamcanary.transport.redirects import redirect_target

_log = logging.getLogger(__name__)


class HeartbeatConfig(BaseModel):
    """The ``heartbeat:`` section: a URL that is pinged at the interval ``every`` (seconds) while the daemon is healthy.

    It works with healthchecks.io, Dead Man's Snitch, the push URL of an uptime monitor, or any other monitor that
    alerts when it is *not* pinged. ``url_file`` is read again when it changes. ``timeout`` (s) bounds one request.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretUrl | None = None
    url_file: Path | None = None
    every: Annotated[PositiveDuration, Field(ge=1, le=86400)] = 60.0
    timeout: Annotated[PositiveDuration, Field(le=60)] = 10.0

    @model_validator(mode="after")
    def _check_one_url(self) -> "HeartbeatConfig":
        if (self.url is None) is (self.url_file is None):
            raise ValueError("needs exactly one of url and url_file")
        return self


LivenessCheck = Callable[[], str | None]
"""Returns why a component makes no progress, or ``None`` if it does; must not block."""


class Heartbeat:
    """Pings the URL of ``config`` while all liveness ``checks`` (by name) pass.

    ``is_sender`` returns whether this daemon is to ping: of replicas that share a database, only the owner of alerting.
    """

    def __init__(
        self,
        config: HeartbeatConfig,
        http: httpx2.AsyncClient,
        clock: Clock,
        checks: dict[str, LivenessCheck],
        is_sender: Callable[[], bool] = lambda: True,
    ) -> None:
        self._config = config
        self._http = http
        self._clock = clock
        self._checks = checks
        self._is_sender = is_sender
        self._last_warning = ""

    async def run(self) -> None:
        """Ping until cancelled, first after ``every`` seconds, when components have had time to make progress."""
        due = self._clock.monotonic()
        while True:
            due = max(due + self._config.every, self._clock.monotonic())
            await asyncio.sleep(due - self._clock.monotonic())
            if self._is_sender():
                await self.ping_if_alive()

    async def ping_if_alive(self) -> bool:
        """Ping the URL if all checks pass; return whether it was pinged and responded with 2xx.

        Raises nothing but cancellation. A failure is logged once, and again when it changes.
        """
        stalled = {name: reason for name, check in self._checks.items() if (reason := check()) is not None}
        if stalled:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in stalled.items())
            self._warn_once(
                f"withheld: {', '.join(stalled)}",
                "heartbeat withheld",
                {"checks": ", ".join(stalled), "error": reasons},
            )
            return False
        error = await self._ping()
        if error is not None:
            self._warn_once(error, "heartbeat failed", {"error": error})
            return False
        if self._last_warning:
            _log.info("heartbeat restored")
            self._last_warning = ""
        return True

    async def _ping(self) -> str | None:
        try:
            url = check_url((self._config.url or Secret(path=self._config.url_file)).reveal())
        except SecretUnreadable as error:
            return str(error)
        except ValueError as error:
            return f"the content of url_file {error}"
        try:
            async with (
                asyncio.timeout(self._config.timeout),
                self._http.stream("GET", url, timeout=self._config.timeout) as response,
            ):
                return None if response.is_success else _describe_failure(response, url)
        except (TimeoutError, httpx2.TimeoutException):
            return f"no answer within {self._config.timeout:g} s"
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, ValueError, OSError, ExceptionGroup) as error:
            return scrub(f"{type(error).__name__}: {error}", secret_parts(url), 300)

    def _warn_once(self, cause: str, event: str, fields: dict[str, str]) -> None:
        """Log ``event`` unless ``cause``, which contains no duration, is the cause that was logged last."""
        if cause != self._last_warning:
            _log.warning(event, extra=fields)
            self._last_warning = cause


class HeartbeatTask:
    """Runs the heartbeat of a configuration that may have none, and that a reload may change. A context manager."""

    def __init__(
        self,
        config: HeartbeatConfig | None,
        clock: Clock,
        checks: dict[str, LivenessCheck],
        is_sender: Callable[[], bool] = lambda: True,
    ) -> None:
        self._config = config
        self._clock = clock
        self._checks = checks
        self._is_sender = is_sender
        self._http = open_http_client()
        self._task: asyncio.Task[None] | None = None
        self._ended: set[asyncio.Task[None]] = set()

    def configure(self, config: HeartbeatConfig | None) -> None:
        """Replace the configuration. One that is equal does not delay the next heartbeat."""
        if config != self._config:
            self._config = config
            self._stop()
            self._start()

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stop()
        await asyncio.gather(*self._ended, return_exceptions=True)
        await self._http.aclose()

    def _start(self) -> None:
        if self._config is not None:
            heartbeat = Heartbeat(self._config, self._http, self._clock, self._checks, self._is_sender)
            self._task = asyncio.create_task(heartbeat.run(), name="heartbeat")

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._ended.add(self._task)
            self._task.add_done_callback(self._ended.discard)
            self._task = None


def _describe_failure(response: httpx2.Response, url: str) -> str:
    status = response.status_code
    if not 300 <= status < 400:
        return f"HTTP {status}"
    target = redirect_target(response.headers)
    return scrub(f"HTTP {status} redirects to {target}: redirects are not followed", secret_parts(url), 300)
