"""A dead man's switch: a URL that is asked only while the daemon gets its work done, so that its silence is noticed."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import httpx2
from pydantic import BaseModel, ConfigDict, Field, model_validator

from streamcanary.alerting.notify.receivers.url import SecretUrl, check_url, secret_parts
from streamcanary.model.clock import Clock
from streamcanary.model.config_types.duration import PositiveDuration
from streamcanary.model.config_types.secret import Secret, SecretUnreadable, scrub

_log = logging.getLogger(__name__)


class HeartbeatConfig(BaseModel):
    """The ``heartbeat:`` section: an address that is asked ``every`` so many seconds while all is well with the daemon.

    It fits healthchecks.io, Dead Man's Snitch, an uptime monitor's push address, or any that alerts when it is *not*
    asked. ``url_file`` is read again when it changes. ``timeout`` (seconds) bounds one request.
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
"""Says why a part makes no progress, or ``None`` if it does; returns at once."""


class Heartbeat:
    """Asks the address for as long as it runs. ``vitals`` are what must make progress, by name."""

    def __init__(
        self, config: HeartbeatConfig, http: httpx2.AsyncClient, clock: Clock, checks: dict[str, LivenessCheck]
    ) -> None:
        self._config = config
        self._http = http
        self._clock = clock
        self._checks = checks
        self._last_warning = ""

    async def run(self) -> None:
        """Ask for ever; the first time after ``every`` seconds, when there has been time to make progress."""
        due = self._clock.monotonic()
        while True:
            due = max(due + self._config.every, self._clock.monotonic())
            await asyncio.sleep(due - self._clock.monotonic())
            await self.ping_if_alive()

    async def ping_if_alive(self) -> bool:
        """Ask the address if everything makes progress; tell whether it was asked, and answered well.

        Raises nothing but cancellation: what goes wrong ends in the log, once each time it changes.
        """
        stalled = {name: reason for name, check in self._checks.items() if (reason := check()) is not None}
        if stalled:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in stalled.items())
            self._warn_once(f"withheld: {', '.join(stalled)}", f"is withheld: {reasons}")
            return False
        problem = await self._ping()
        if problem is not None:
            self._warn_once(problem, f"was not taken: {problem}")
            return False
        if self._last_warning:
            _log.info("the heartbeat goes out again")
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
                return None if response.is_success else f"HTTP {response.status_code}"
        except (TimeoutError, httpx2.TimeoutException):
            return f"no answer within {self._config.timeout:g} s"
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, ValueError, OSError, ExceptionGroup) as error:
            return scrub(f"{type(error).__name__}: {error}", secret_parts(url), 300)

    def _warn_once(self, what: str, sentence: str) -> None:
        """Log ``sentence`` unless ``what``, of which it tells how long it has lasted, was logged last."""
        if what != self._last_warning:
            _log.warning("the heartbeat %s", sentence)
            self._last_warning = what
