"""Failed exports are counted and logged, without flooding the log."""

import logging

import pytest

from streamcanary.telemetry.otlp.export_failures import ExportTracker
from streamcanary.telemetry.otlp.sdk_log_handler import SdkLogHandler
from support.clock import ManualClock


@pytest.fixture
def clock():
    """Return a clock that stands still until it is advanced."""
    return ManualClock()


@pytest.fixture
def tracker(clock):
    """Return the tracker of one signal without exports."""
    tracker = ExportTracker("traces", clock)
    tracker.endpoint = "http://collector:4318/v1/traces"
    return tracker


def fail(tracker, times=1):
    """Lose ``times`` batches."""
    for _ in range(times):
        assert tracker.run_export(lambda: False, lambda: "Connection refused") is False


def succeed(tracker):
    """Export one batch."""
    assert tracker.run_export(lambda: True, lambda: "") is True


def test_a_failure_is_logged_once(tracker, caplog):
    """The first lost batch logs a warning with endpoint, time and reason; the following ones log nothing."""
    fail(tracker, times=20)
    [warning] = caplog.records
    assert warning.levelname == "WARNING"
    assert warning.getMessage() == "telemetry export failed"
    assert (warning.signal, warning.endpoint) == ("traces", "http://collector:4318/v1/traces")
    assert (warning.failing_since, warning.lost_batches) == ("2027-01-15T08:00:00Z", 1)
    assert warning.error == "Connection refused"
    assert tracker.lost_batches == 20


def test_a_lasting_failure_is_logged_again_every_five_minutes(tracker, clock, caplog):
    """The reminder interval starts with the first failure."""
    for _ in range(61):
        fail(tracker)
        clock.advance(10)
    assert [record.lost_batches for record in caplog.records] == [1, 31, 61]


def test_a_recovery_is_logged_once(tracker, clock, caplog):
    """The first successful export after a failure logs the recovery with the number of lost batches."""
    caplog.set_level(logging.INFO)
    succeed(tracker)
    fail(tracker, times=3)
    clock.advance(60)
    succeed(tracker)
    succeed(tracker)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    recovery = caplog.records[-1]
    assert recovery.getMessage() == "telemetry export recovered"
    assert (recovery.lost_batches, recovery.failing_since) == (3, "2027-01-15T08:00:00Z")


def test_a_flapping_endpoint_does_not_flood_the_log(tracker, clock, caplog):
    """An endpoint that fails every other export for an hour logs a failure and a recovery every five minutes."""
    caplog.set_level(logging.INFO)
    for _ in range(180):
        fail(tracker)
        clock.advance(10)
        succeed(tracker)
        clock.advance(10)
    assert len(caplog.records) == 24


def test_an_exception_of_the_exporter_loses_only_its_batch(tracker, caplog):
    """An exception from the exporter counts as a lost batch."""

    def broken() -> bool:
        raise KeyError("resource")

    assert tracker.run_export(broken, lambda: "") is False
    succeed(tracker)
    assert tracker.lost_batches == 1
    assert "KeyError: 'resource'" in caplog.records[0].error


def test_the_first_failure_during_shutdown_stops_all_exports(tracker):
    """After a failed batch during shutdown, further batches are dropped without an attempt."""
    tracker.begin_shutdown()
    tried = []

    def fail() -> bool:
        tried.append(1)
        return False

    for _ in range(4):
        tracker.run_export(fail, lambda: "")
    assert (len(tried), tracker.lost_batches) == (1, 4)


def test_a_failure_before_the_shutdown_does_not_stop_exports(tracker):
    """An endpoint that failed before the shutdown still receives the last batch."""
    fail(tracker)
    tracker.begin_shutdown()
    succeed(tracker)


def test_lost_items_are_counted_by_reason(tracker):
    """The items of a failed export, of a rejected part, and of a full queue are counted apart; others are not."""
    tracker.run_export(lambda: True, lambda: "", items=5)
    tracker.run_export(lambda: False, lambda: "Connection refused", items=7)
    tracker.record_rejection(2, "over the quota")
    assert tracker.lost_items == {"failed": 7, "rejected": 2, "queue_full": 0}


def test_items_that_a_full_queue_drops_are_counted(tracker):
    """A queue of four drops an old item for each further one, until an export takes some."""
    for _ in range(6):
        tracker.record_queued(4)
    assert tracker.lost_items["queue_full"] == 2
    tracker.record_taken(3)
    for _ in range(4):
        tracker.record_queued(4)
    assert tracker.lost_items["queue_full"] == 3


def test_items_that_a_shutdown_drops_are_counted(tracker):
    """Batches that are dropped without an attempt during shutdown are lost, too."""
    tracker.begin_shutdown()
    for _ in range(3):
        tracker.run_export(lambda: False, lambda: "", items=10)
    assert tracker.lost_items["failed"] == 30


def test_a_rejected_part_is_logged_every_five_minutes(tracker, clock, caplog):
    """The warning has the number of rejected items and the message of the receiver."""
    for _ in range(61):
        tracker.record_rejection(3, "over the quota")
        clock.advance(10)
    assert [record.getMessage() for record in caplog.records] == ["telemetry partially rejected"] * 3
    assert (caplog.records[0].rejected_items, caplog.records[0].error) == (3, "over the quota")


@pytest.fixture
def sdk_log(clock):
    """Return the handler of the SDK's records; a test installs it."""
    return SdkLogHandler(clock)


def test_a_record_of_an_exporter_is_the_failure_reason(sdk_log, caplog):
    """The handler does not log the record of an exporter, and stores it as the reason of the failure."""
    sdk_log.install()
    logging.getLogger("opentelemetry.exporter.otlp.somewhere").error("Failed, code: %s", 503, exc_info=False)
    assert caplog.records == []
    assert sdk_log.pop_failure_reason() == "Failed, code: 503"


def test_a_reason_of_the_transport_takes_precedence(sdk_log):
    """The record of an exporter does not replace the clearer reason of the transport."""
    sdk_log.install()
    sdk_log.record_failure_reason("Connection refused")
    logging.getLogger("opentelemetry.exporter.otlp.somewhere").error("HTTPConnectionPool(…): Max retries exceeded")
    assert sdk_log.pop_failure_reason() == "Connection refused"


def test_other_records_of_the_sdk_are_logged_at_intervals(sdk_log, clock, caplog):
    """A record that the SDK repeats for each span is logged once in five minutes, without its stack trace."""
    sdk_log.install()
    logger = logging.getLogger("opentelemetry.sdk.somewhere")
    for _ in range(3):
        for _ in range(1000):
            logger.error("Queue full, dropping %s.", "Span", exc_info=ValueError("what broke"))
        clock.advance(200)
    assert [(record.getMessage(), record.detail) for record in caplog.records] == [
        ("OpenTelemetry SDK message", "Queue full, dropping Span. ValueError('what broke')")
    ] * 2
    assert [record.exc_info for record in caplog.records] == [None, None]
