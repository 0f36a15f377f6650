"""Reloads the configuration while the daemon runs, from three triggers: its file, SIGHUP, and the API.

A reload has two steps. ``prepare`` does all that can fail, in a thread, and has no effect; ``apply`` cannot fail, and
happens at once in the event loop. So a configuration is applied as a whole or not at all.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol, Self, TypeVar

from msgspec import Struct

from streamcanary.model.clock import Clock
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.config_types.secret import SecretUnreadable
from streamcanary.model.redaction.redactor import scrub
from streamcanary.model.status.config_reload import ConfigError, ConfigStatus, ReloadKind, ReloadResult
from streamcanary.reload.config_file import UNREADABLE, ChangeDetector, content_hash_of, read_fingerprint
from streamcanary.reload.metrics import ConfigMetrics
from streamcanary.reload.plan import config_changes, restart_needed
from streamcanary.settings import ConfigInvalid, Problem, Settings, load
from streamcanary.transport.proxy import InvalidProxyUrl
from streamcanary.transport.tls import TlsFileError

_log = logging.getLogger(__name__)
T = TypeVar("T")

DEFAULT_INTERVAL: Final = 5.0
"""Seconds between two looks at the content of the file."""

_LOAD_TIMEOUT: Final = 120.0  # seconds; 10,000 canaries take about 15
_MAX_ERRORS: Final = 100  # of a file that are kept and shown
_MAX_LOGGED: Final = 20  # errors and changes in the log


class ReloadSource(Struct, frozen=True, kw_only=True):
    """The ``file`` that is reloaded, and when.

    ``interval`` is the time between two looks at its content in seconds; with 0, the file is not watched. ``requested``
    is set to reload it at once.
    """

    file: Path
    interval: float = DEFAULT_INTERVAL
    requested: asyncio.Event


class Reloadable(Protocol):
    """The components of the daemon that a configuration changes."""

    def prepare(self, settings: Settings) -> None:
        """Do all that can fail, without effect. Called in another thread.

        Raises:
            SecretUnreadable, TlsFileError, InvalidProxyUrl, ValueError: if the configuration cannot be used.
        """
        ...

    def apply(self) -> None:
        """Apply what was prepared. Must not fail, and must not block."""
        ...


class _Hanging(Exception):
    """The file system has not answered in time."""


class Reloader:
    """Reloads the configuration of ``source``. A context manager: until it is left, triggers are handled.

    One reload happens at a time; requests during it are answered by one more. ``on_result`` is called with the problem
    because of which the file is not applied, or with ``None`` if it is; ``on_applied`` after other settings are.
    """

    def __init__(
        self,
        source: ReloadSource,
        settings: Settings,
        parts: Reloadable,
        *,
        clock: Clock,
        on_result: Callable[[str | None], None],
        on_applied: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = source
        self._settings = settings
        self._parts = parts
        self._clock = clock
        self._on_result = on_result
        self._on_applied = on_applied
        self._metrics = ConfigMetrics(settings, clock.time())
        self._detector = ChangeDetector(settings.content_hash)
        self._status = ConfigStatus(file=str(source.file), content_hash=settings.content_hash, loaded=clock.time())
        self._waiting: list[asyncio.Future[ReloadResult]] = []
        self._blocking: asyncio.Future[object] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> ConfigStatus:
        """Which configuration the daemon runs with, and the result of the last reload."""
        return self._status

    async def reload(self) -> ReloadResult:
        """Reload the file, and return the result."""
        if self._task is None:
            return ReloadResult(kind=ReloadKind.STOPPING, message="the daemon is stopping")
        result: asyncio.Future[ReloadResult] = asyncio.get_running_loop().create_future()
        self._waiting.append(result)
        self._source.requested.set()
        return await result

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="reload")
        return self

    async def __aexit__(self, *exc: object) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._answer(ReloadResult(kind=ReloadKind.STOPPING, message="the daemon is stopping"), self._waiting)

    async def _run(self) -> None:
        while True:
            is_requested = await self._is_requested()
            waiting: list[asyncio.Future[ReloadResult]] = []
            result = ReloadResult(kind=ReloadKind.FAILED, message="the reload was interrupted; see the log")
            try:
                if is_requested:  # else a request that has just come waits for the next turn
                    self._source.requested.clear()
                    waiting, self._waiting = self._waiting, []
                    result = await self._reload()
                else:
                    await self._poll()
            except Exception:  # noqa: BLE001 - a defect: it is logged, and the next trigger reloads again
                _log.exception("reload failed internally")
            finally:
                self._answer(result, waiting)

    async def _is_requested(self) -> bool:
        """Wait until a reload is requested, or until the next look at the file; return whether it is requested."""
        try:
            async with asyncio.timeout(self._source.interval or None):
                await self._source.requested.wait()
        except TimeoutError:
            return False
        return True

    async def _poll(self) -> None:
        try:
            fingerprint = await self._in_thread(lambda: read_fingerprint(self._source.file))
        except _Hanging as hanging:
            fingerprint = f"{UNREADABLE}{hanging}"
        if self._detector.poll(fingerprint, self._clock.monotonic()):
            await self._reload(fingerprint)

    async def _reload(self, expected: str | None = None) -> ReloadResult:
        """Load the file, and apply it if it is valid.

        With the fingerprint ``expected`` nothing happens if the content is another one by now: the next poll sees it.
        """
        settings = None
        try:
            settings, fingerprint, result = await self._in_thread(self._prepare)
        except _Hanging as hanging:
            fingerprint, result = f"{UNREADABLE}{hanging}", _failure(ReloadKind.FAILED, str(hanging))
        if expected not in (None, fingerprint):
            return result
        if result.kind is ReloadKind.APPLIED and settings is not None:
            try:
                self._parts.apply()
            except Exception as error:  # noqa: BLE001 - a defect: it is logged, and reported as a failed reload
                _log.exception("configuration not applied completely")
                message = f"internal error: {type(error).__name__}; restart the daemon"
                result = _failure(ReloadKind.FAILED, message)
        # An invalid file is loaded again and again; that is news only to who asks for it.
        is_repeated = expected is not None and not result.is_success and result == self._status.last_result
        self._record(settings, fingerprint, result, is_repeated=is_repeated)
        return result

    def _prepare(self) -> tuple[Settings | None, str, ReloadResult]:
        """Load the file, and prepare what has changed. Blocks.

        Return the settings, the fingerprint of the file, and the result that :meth:`_reload` has if it applies them.
        """
        before, content_hash = self._settings, ""
        try:
            settings = load(self._source.file)
            content_hash = settings.content_hash
            changes = config_changes(before, settings)
            if not changes:
                return settings, content_hash, ReloadResult(kind=ReloadKind.UNCHANGED, content_hash=content_hash)
            if keys := restart_needed(before, settings):
                message = f"restart the daemon to apply a change of {', '.join(keys[:_MAX_LOGGED])}"
                return (
                    None,
                    content_hash,
                    _failure(ReloadKind.RESTART_NEEDED, message, content_hash, changes=changes, restart_needed=keys),
                )
            self._parts.prepare(settings)
        except ConfigInvalid as invalid:
            errors = tuple(map(_config_error, invalid.problems[:_MAX_ERRORS]))
            fingerprint = read_fingerprint(self._source.file)
            message = _summary(invalid.problems)
            return None, fingerprint, _failure(ReloadKind.INVALID, message, content_hash_of(fingerprint), errors=errors)
        except (SecretUnreadable, TlsFileError, InvalidProxyUrl, ValueError, OSError) as error:
            message = scrub(str(error), limit=1000)
            errors = (ConfigError(message=message),)
            fingerprint = content_hash or read_fingerprint(self._source.file)
            return None, fingerprint, _failure(ReloadKind.INVALID, message, content_hash_of(fingerprint), errors=errors)
        except Exception as error:  # noqa: BLE001 - a defect: it is logged, and reported as a failed reload
            fingerprint = content_hash or read_fingerprint(self._source.file)
            result = _failure(
                ReloadKind.FAILED, f"internal error: {type(error).__name__}", content_hash_of(fingerprint)
            )
            if result != self._status.last_result:  # the same file is loaded again and again; one traceback is enough
                _log.exception("reload failed internally")
            return None, fingerprint, result
        return settings, content_hash, ReloadResult(kind=ReloadKind.APPLIED, content_hash=content_hash, changes=changes)

    def _record(self, settings: Settings | None, fingerprint: str, result: ReloadResult, *, is_repeated: bool) -> None:
        """Record the result: in the status, the metrics, the log, and for ``ReloadFailed``."""
        now, before = self._clock.time(), self._status
        self._detector.record_loaded(fingerprint, self._clock.monotonic(), is_valid=result.is_success)
        self._status = ConfigStatus(
            file=before.file,
            content_hash=result.content_hash if result.is_success else before.content_hash,
            loaded=now if result.kind is ReloadKind.APPLIED else before.loaded,
            last_reload=now,
            last_result=result,
        )
        if result.is_success and settings is not None:
            self._settings = settings
        if not is_repeated:
            self._metrics.record_reload(self._settings, now, is_successful=result.is_success)
            _log_result(self._source.file, result)
        self._on_result(None if result.is_success else result.message)
        if result.kind is ReloadKind.APPLIED and settings is not None:
            for problem in settings.warnings[:_MAX_LOGGED]:
                _log.warning("configuration warning", extra={"problem": str(problem)})
            self._on_applied()

    async def _in_thread(self, call: Callable[[], T]) -> T:
        """Run ``call``, which blocks, in a thread.

        Raises:
            _Hanging: if it takes too long, or if an earlier call still does: no further thread waits for a file system
                that hangs.
        """
        message = f"reading {self._source.file} has taken more than {format_duration(_LOAD_TIMEOUT)}"
        if self._blocking is not None and not self._blocking.done():
            raise _Hanging(message)
        blocking = asyncio.ensure_future(asyncio.to_thread(call))
        self._blocking = blocking  # type: ignore[assignment] # of any type
        done, _ = await asyncio.wait({blocking}, timeout=_LOAD_TIMEOUT)
        if not done:
            raise _Hanging(message)
        return blocking.result()

    @staticmethod
    def _answer(result: ReloadResult, waiting: Sequence[asyncio.Future[ReloadResult]]) -> None:
        for future in waiting:
            if not future.done():
                future.set_result(result)


def _failure(kind: ReloadKind, message: str, content_hash: str = "", **fields: object) -> ReloadResult:
    return ReloadResult(kind=kind, message=message, content_hash=content_hash, **fields)  # type: ignore[arg-type]


def _config_error(problem: Problem) -> ConfigError:
    message = problem.message if problem.variable is None else f"{problem.variable}: {problem.message}"
    return ConfigError(message=message, key=problem.path, line=problem.line, column=problem.column)


def _summary(problems: Sequence[Problem]) -> str:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{problems[0]}{more}"


def _log_result(file: Path, result: ReloadResult) -> None:
    fields: dict[str, object] = {"file": str(file), "hash": result.content_hash[:12]}
    if result.kind is ReloadKind.APPLIED:
        changes = [f"{change.key} {change.change}" for change in result.changes]
        _log.info("configuration reloaded", extra={**fields, "count": len(changes), "changes": changes[:_MAX_LOGGED]})
    elif result.kind is ReloadKind.UNCHANGED:
        _log.info("configuration unchanged", extra=fields)
    else:
        problems = [f"{error.line or ''}: {error.key}: {error.message}" for error in result.errors[1:_MAX_LOGGED]]
        further = {"further": problems} if problems else {}
        hint = "the daemon continues with the former configuration"
        _log.error(
            "configuration not reloaded",
            extra={**fields, "reason": result.kind.value, "error": result.message, **further, "hint": hint},
        )
