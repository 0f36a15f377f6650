"""Watches the configuration file: by its content, so that any way to replace it is noticed.

Kubernetes replaces the files of a ConfigMap by exchanging a symbolic link above them, editors rename a new file over
the old one, and other tools write in place. In all cases the content that the path leads to is another one.
"""

from pathlib import Path
from typing import Final

from streamcanary.settings import ConfigInvalid, read_content_hash

RETRY_INTERVAL: Final = 30.0
"""Seconds after which an invalid configuration is loaded again although its file is the same.

It may be valid now: it refers to other files, such as those of secrets.
"""

UNREADABLE: Final = "unreadable: "
"""The begin of a fingerprint that is no hash: the reason for which the content could not be read follows."""


def read_fingerprint(file: Path) -> str:
    """Return what differs if the content of ``file`` does: its hash, or why it cannot be read. Blocks."""
    try:
        return read_content_hash(file)
    except ConfigInvalid as invalid:
        return f"{UNREADABLE}{invalid}"


def content_hash_of(fingerprint: str) -> str:
    """Return the hash of the content that has this fingerprint; empty if it could not be read."""
    return "" if fingerprint.startswith(UNREADABLE) else fingerprint


class ChangeDetector:
    """Decides at each poll whether the file is to be loaded. Pure.

    It is if the content is another one than the last that was loaded, and the same as at the poll before: a file that
    is being written is left alone. ``loaded`` is the fingerprint of the configuration at the start.
    """

    def __init__(self, loaded: str) -> None:
        self._loaded = loaded
        self._last = loaded
        self._retry_at: float | None = None  # monotonic seconds

    def poll(self, fingerprint: str, now: float) -> bool:
        """Return whether the file is to be loaded, at ``now`` (monotonic seconds)."""
        is_stable, self._last = fingerprint == self._last, fingerprint
        if fingerprint != self._loaded:
            return is_stable
        return is_stable and self._retry_at is not None and now >= self._retry_at

    def record_loaded(self, fingerprint: str, now: float, *, is_valid: bool) -> None:
        """Record that the content of this fingerprint was loaded, or that it could not be."""
        self._loaded = self._last = fingerprint
        self._retry_at = None if is_valid else now + RETRY_INTERVAL
