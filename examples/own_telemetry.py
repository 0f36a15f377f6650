"""The OpenTelemetry SDK of an application records every call: this program prints its spans as a tree.

streamcanary uses only the OpenTelemetry API. The application's SDK gets a span for the call, as a child of the current
span, and a child span for each attempt; and the metrics of the GenAI conventions, plus ``streamcanary.attempts`` for
the faults that retries hide. Without an SDK nothing is recorded.

``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` set the endpoint; the first argument is the model. Against
``streamcanary simulate``, try ``sim-cut@1``.
"""

import asyncio
import sys

from openai import AsyncOpenAI
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from streamcanary import AsyncStreamClient, RetryPolicy

SHOWN = ("error.type", "http.response.status_code", "http.request.resend_count", "gen_ai.response.model")


def line(span: ReadableSpan) -> str:
    """Return one line for a span: name, ids, status and attributes."""
    attributes = span.attributes or {}
    attributes_text = " ".join(f"{key}={attributes[key]!s}" for key in SHOWN if key in attributes)
    parent = f"{span.parent.span_id:016x}" if span.parent else "none"
    text = (
        f"{span.name} span={span.context.span_id:016x} parent={parent} {span.status.status_code.name} {attributes_text}"
    )
    return f"{text.rstrip()}\n"


async def main(model: str) -> None:
    """Make one call within a span of the application."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=line)))
    trace.set_tracer_provider(provider)
    async with AsyncOpenAI() as sdk:
        client = AsyncStreamClient(sdk, retry=RetryPolicy(base_delay=0.1), provider="openai")
        with trace.get_tracer("shop").start_as_current_span("checkout"):
            await client.complete(model=model, messages=[{"role": "user", "content": "Say pong."}])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "gpt-4o-mini"))
