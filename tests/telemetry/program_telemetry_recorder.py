"""A small daemon: records spans and a metric through the OpenTelemetry API, and exits.

Takes the number of spans and the ``telemetry:`` section as JSON; prints its measurements as JSON.
"""

import asyncio
import json
import sys
import time

from opentelemetry import metrics, trace

from streamcanary.telemetry import logs
from streamcanary.telemetry.config import TelemetryConfig
from streamcanary.telemetry.providers import Telemetry

HEAVY = ("opentelemetry.sdk", "opentelemetry.exporter", "requests", "grpc")


async def record_and_end(spans: int, section: TelemetryConfig) -> None:
    """Record ``spans`` spans, and measure the shutdown."""
    tracer, meter = trace.get_tracer("early"), metrics.get_meter("early")  # as packages do, before the SDK is set up

    counter = meter.create_counter("streamcanary.runs")
    telemetry = Telemetry()
    telemetry.prepare(section)
    telemetry.apply()
    for _ in range(spans):
        tracer.start_span("recorded").end()
        counter.add(1)
    started = time.monotonic()
    await telemetry.close()
    await telemetry.close()
    measured = {
        "close": time.monotonic() - started,
        "close_started": started,
        "imported": sorted(name for name in HEAVY if name in sys.modules),
        "tracer_provider": type(trace.get_tracer_provider()).__name__,
    }
    sys.stdout.write(json.dumps(measured))


logs.configure(json=True)
asyncio.run(record_and_end(int(sys.argv[1]), TelemetryConfig.model_validate_json(sys.argv[2])))
