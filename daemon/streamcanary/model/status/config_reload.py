"""Values about reloads of the configuration: what has changed, the result, and what is shown of it."""

from enum import StrEnum

from msgspec import Struct


class ReloadKind(StrEnum):
    """How a reload has ended."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    INVALID = "invalid"
    RESTART_NEEDED = "restart_needed"
    FAILED = "failed"
    STOPPING = "stopping"


class ConfigChange(Struct, frozen=True):
    """A key of the configuration, such as ``canaries.chat``, and its change.

    The change is ``added``, ``removed``, ``changed`` or, of a canary or rule with ``renamed_from``, ``renamed``. It has
    no values, which may be secrets.
    """

    key: str
    change: str


class ConfigError(Struct, frozen=True, kw_only=True):
    """A config error without secrets. ``line`` and ``column`` count from 1; ``None`` if it is not in the file."""

    message: str
    key: str = ""
    line: int | None = None
    column: int | None = None


class ReloadResult(Struct, frozen=True, kw_only=True):
    """The result of one reload.

    ``changes`` are applied; with the kind ``restart_needed`` nothing is applied, because of the keys in
    ``restart_needed``. ``message`` says for people why nothing was applied; ``content_hash`` is that of the file.
    """

    kind: ReloadKind
    content_hash: str = ""
    changes: tuple[ConfigChange, ...] = ()
    restart_needed: tuple[str, ...] = ()
    errors: tuple[ConfigError, ...] = ()
    message: str = ""

    @property
    def is_success(self) -> bool:
        """Whether the daemon runs with the configuration in the file."""
        return self.kind in (ReloadKind.APPLIED, ReloadKind.UNCHANGED)


class ConfigStatus(Struct, frozen=True, kw_only=True):
    """Which configuration the daemon runs with. Times are in seconds since the epoch.

    ``content_hash`` is the SHA-256 of the file as it was when it was applied at ``loaded``. ``last_result`` is that of
    the last reload at ``last_reload``; both are ``None`` before the first one.
    """

    file: str
    content_hash: str
    loaded: float
    last_reload: float | None = None
    last_result: ReloadResult | None = None
