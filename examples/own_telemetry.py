"""An application's own OpenTelemetry sees every call: here its spans are printed as a tree.

streamcanary speaks to the OpenTelemetry API alone. Whatever SDK the application has set up gets a span for the logical
call, below whatever span is current, and one for each attempt below that; and the metrics of the GenAI conventions,
with ``streamcanary.attempts`` for what retries hide. Without an SDK nothing is recorded.

``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` say whom to ask; the first argument is the model. Against
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
    """Return one line for a span: what it is, below what, how it ended."""
    attributes = span.attributes or {}
    known = " ".join(f"{key}={attributes[key]!s}" for key in SHOWN if key in attributes)
    parent = f"{span.parent.span_id:016x}" if span.parent else "none"
    spoken = f"{span.name} span={span.context.span_id:016x} parent={parent} {span.status.status_code.name} {known}"
    return f"{spoken.rstrip()}\n"


async def main(model: str) -> None:
    """Ask within a span of the application's own."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=line)))
    trace.set_tracer_provider(provider)
    async with AsyncOpenAI() as sdk:
        client = AsyncStreamClient(sdk, retry=RetryPolicy(base_delay=0.1), provider="openai")
        with trace.get_tracer("shop").start_as_current_span("checkout"):
            await client.complete(model=model, messages=[{"role": "user", "content": "Say pong."}])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "gpt-4o-mini"))
