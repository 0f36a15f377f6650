"""An application with the client of streamcanary and an OpenTelemetry SDK of its own, for the dashboard ``genai``.

Arguments: the address of the provider, and of an OTLP endpoint. It makes a call a second until it is ended.
"""

import asyncio
import sys

from openai import AsyncOpenAI
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from streamcanary import AsyncStreamClient, RetryPolicy, StreamFailed, Timeouts

_MODELS = ("sim-ok", "sim-500@2", "sim-timeline", "sim-slow-drip")
_INTERVAL = 1.0


async def main(provider: str, otlp: str) -> None:
    """Call each model in turn."""
    resource = Resource.create({"service.name": "shop"})
    traces = TracerProvider(resource=resource)
    traces.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{otlp}/v1/traces"), schedule_delay_millis=500)
    )
    trace.set_tracer_provider(traces)
    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter(endpoint=f"{otlp}/v1/metrics"), export_interval_millis=_INTERVAL * 1000
    )
    metrics.set_meter_provider(MeterProvider([reader], resource=resource))
    async with AsyncOpenAI(base_url=provider, api_key="none") as sdk:
        client = AsyncStreamClient(
            sdk,
            provider="simulator",
            retry=RetryPolicy(max_attempts=2, base_delay=0.05),
            timeouts=Timeouts(first_token=1, stall=0.5, total=3),
            time_per_chunk=True,
        )
        for number in range(100_000):
            try:
                await client.complete(
                    model=_MODELS[number % len(_MODELS)],
                    messages=[{"role": "user", "content": "Say pong."}],
                    stream_options={"include_usage": True},
                )
            except StreamFailed as error:
                sys.stderr.write(f"{error}\n")
            await asyncio.sleep(_INTERVAL)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
