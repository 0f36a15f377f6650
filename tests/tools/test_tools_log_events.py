"""The page on telemetry lists every event of the log that can be exported."""

from pathlib import Path

import pytest
from tools.docs import log_events
from tools.docs.page import Stale, words

FORMS = """
_log.warning("it failed")
_log.error("it failed again" if again else "it failed once")
_log.log(level, "it changed", extra={})
_log.info("it is not exported")
_log.exception("an error: with a detail")
class C:
    def warn(self, cause, event):
        _log.warning(event)
    def run(self):
        self.warn("x", "it is passed on")
        name = "it is assigned"
        _log.error(name)
"""


def events_of(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the events of a package with one module."""
    (folder / "module.py").write_text(source)
    monkeypatch.setattr(log_events, "SOURCE", folder)
    return log_events.log_events()


def test_events_are_found_in_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message of a line from warning up is found, if it has the form of the name of an event."""
    names = ["it.failed", "it.failed.again", "it.failed.once", "it.changed", "it.is.passed.on", "it.is.assigned"]
    assert {f"streamcanary.{name}" for name in names} == events_of(FORMS, tmp_path, monkeypatch)


@pytest.mark.parametrize("source", ["_log.error(unknown)", '_log.error(f"it failed for {name}")'])
def test_a_message_that_is_no_literal_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """A message with a value in it would be an event of its own for each value."""
    with pytest.raises(Stale, match=r"module.py, line 1: the message of (a|the) log line is (no literal|not found)"):
        events_of(source, tmp_path, monkeypatch)


def test_every_event_is_on_the_page() -> None:
    """Each event is described, and each described one exists."""
    assert set(words("telemetry")["logs"]) == log_events.log_events()
