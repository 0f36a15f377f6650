"""Failed exports are counted and told, without flooding the log."""

import logging

import pytest

from streamcanary.telemetry.export_failures import ExportTracker
from streamcanary.telemetry.sdk_log_handler import SdkLogHandler
from support.clock import ManualClock


@pytest.fixture
def clock():
    """Return a clock that stands until it is told to go."""
    return ManualClock()


@pytest.fixture
def delivery(clock):
    """Return the exports of one signal, none so far."""
    delivery = ExportTracker("traces", clock)
    delivery.endpoint = "http://collector:4318/v1/traces"
    return delivery


def fail(delivery, times=1):
    """Lose ``times`` batches."""
    for _ in range(times):
        assert delivery.run_export(lambda: False, lambda: "Connection refused") is False


def succeed(delivery):
    """Export one batch."""
    assert delivery.run_export(lambda: True, lambda: "") is True


def test_a_failure_is_told_once(delivery, caplog):
    """The first lost batch is a warning with endpoint, time and reason; those that follow are silent."""
    fail(delivery, times=20)
    [warning] = caplog.records
    assert warning.levelname == "WARNING"
    assert warning.getMessage() == (
        "OTLP export of traces to http://collector:4318/v1/traces fails since 2027-01-15T08:00:00Z "
        "(batches lost: 1): Connection refused"
    )
    assert delivery.lost_batches == 20


def test_a_lasting_failure_is_told_again_every_five_minutes(delivery, clock, caplog):
    """The reminder counts from the start of the trouble."""
    for _ in range(61):
        fail(delivery)
        clock.advance(10)
    assert [record.args[3] for record in caplog.records] == [1, 31, 61]


def test_the_end_of_the_trouble_is_told(delivery, clock, caplog):
    """Once it works again, one line says so, with what was lost in between."""
    caplog.set_level(logging.INFO)
    succeed(delivery)
    fail(delivery, times=3)
    clock.advance(60)
    succeed(delivery)
    succeed(delivery)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "works again (batches lost: 3, since 2027-01-15T08:00:00Z)" in caplog.text


def test_a_flapping_endpoint_does_not_flood_the_log(delivery, clock, caplog):
    """An hour of failing every other time is a warning and an end every five minutes."""
    caplog.set_level(logging.INFO)
    for _ in range(180):
        fail(delivery)
        clock.advance(10)
        succeed(delivery)
        clock.advance(10)
    assert len(caplog.records) == 24


def test_a_fault_of_the_exporter_costs_its_batch_only(delivery, caplog):
    """An exception from the exporter is a lost batch like any other."""

    def broken() -> bool:
        raise KeyError("resource")

    assert delivery.run_export(broken, lambda: "") is False
    succeed(delivery)
    assert delivery.lost_batches == 1
    assert "KeyError: 'resource'" in caplog.text


def test_at_the_end_the_first_failure_gives_up(delivery):
    """Once the end has come, what follows a failed batch is lost without waiting for it to fail, too."""
    delivery.begin_shutdown()
    tried = []

    def fail() -> bool:
        tried.append(1)
        return False

    for _ in range(4):
        delivery.run_export(fail, lambda: "")
    assert (len(tried), delivery.lost_batches) == (1, 4)


def test_a_failure_before_the_end_gives_nothing_up(delivery):
    """An endpoint that failed before gets its chance with the last batch."""
    fail(delivery)
    delivery.begin_shutdown()
    succeed(delivery)


@pytest.fixture
def sdk_log(clock):
    """Return what listens to the SDK; a test installs it."""
    return SdkLogHandler(clock)


def test_what_an_exporter_logs_is_the_reason(sdk_log, caplog):
    """The exporter's own line stays off the log, and is what the warning about the failure says."""
    sdk_log.install()
    logging.getLogger("opentelemetry.exporter.otlp.somewhere").error("Failed, code: %s", 503, exc_info=False)
    assert caplog.records == []
    assert sdk_log.pop_failure_reason() == "Failed, code: 503"


def test_a_note_of_the_transport_comes_first(sdk_log):
    """The plain words of the transport are not overwritten by the exporter's long ones."""
    sdk_log.install()
    sdk_log.record_failure_reason("Connection refused")
    logging.getLogger("opentelemetry.exporter.otlp.somewhere").error("HTTPConnectionPool(…): Max retries exceeded")
    assert sdk_log.pop_failure_reason() == "Connection refused"


def test_other_words_of_the_sdk_are_passed_on_at_intervals(sdk_log, clock, caplog):
    """A line that the SDK repeats for each span is passed on once in five minutes, without its stack trace."""
    sdk_log.install()
    logger = logging.getLogger("opentelemetry.sdk.somewhere")
    for _ in range(3):
        for _ in range(1000):
            logger.error("Queue full, dropping %s.", "Span", exc_info=ValueError("what broke"))
        clock.advance(200)
    assert [record.getMessage() for record in caplog.records] == [
        "OpenTelemetry: Queue full, dropping Span. ValueError('what broke')"
    ] * 2
    assert [record.exc_info for record in caplog.records] == [None, None]
