"""Runs with realistic spans: an outage with retries and a fallback, a good run, a hostile provider."""

import msgspec

from streamcanary.model.run_trace import RunTrace, TraceEvent, TraceSpan
from support.status.canaries import NOON
from support.telemetry.run_traces import make_trace

_PHASES = ("dns", "connect", "tls", "headers", "first_token", "streaming")


def make_phases(
    offset: float, phases: dict[str, float], fault: str = "", message: str = "", **more: object
) -> TraceSpan:
    """Return an attempt with ``phases`` in seconds; with ``fault`` it fails in the last one."""
    attributes: dict[str, object] = {f"streamcanary.phase.{name}.duration": value for name, value in phases.items()}
    attributes |= {"streamcanary.route": "gpt-4o-mini", "http.response.status_code": 200}
    attributes |= {"streamcanary.connection": "new" if "dns" in phases else "reused"}
    if fault:
        attributes |= {"streamcanary.fault": fault, "streamcanary.phase": "stream", "streamcanary.blame": "provider"}
    attributes |= more
    duration, events = sum(phases.values()), []
    if "streaming" in phases:
        before = sum(value for name, value in phases.items() if name != "streaming")
        events.append(TraceEvent(name="streamcanary.first_token", offset=offset + before))
    return TraceSpan(
        name="POST",
        span_id="0" * 16,
        offset=offset,
        duration=duration,
        status="error" if fault else "unset",
        message=message,
        attributes=attributes,  # type: ignore[arg-type]
        events=events,
    )


def failed_over(number: int = 1, message: str = "no token for 5 s (timeouts.stall)") -> RunTrace:
    """Return a run of which two attempts stalled, one was rate limited, and the fallback answered."""
    attempts = (
        make_phases(
            0.004,
            {"dns": 0.012, "connect": 0.034, "tls": 0.061, "headers": 0.31, "first_token": 0.42, "streaming": 5.81},
            "stalled",
            message,
            **{
                "http.response.header.x-request-id": ["req_8f1c02"],
                "url.full": "https://api.openai.com/v1/chat/completions",
            },
        ),
        make_phases(
            7.17,
            {"headers": 0.29},
            "rate_limited",
            "HTTP 429: Rate limit reached for requests per minute",
            **{
                "http.response.status_code": 429,
                "streamcanary.blame": "quota",
                "http.response.header.x-request-id": ["req_9a7700"],
            },
        ),
        make_phases(
            9.46, {"headers": 0.33, "first_token": 0.51, "streaming": 0.94}, **{"streamcanary.route": "gpt-4.1-mini"}
        ),
    )
    trace = make_trace(*attempts, outcome="failed_over", canary="chat-mini", fault="stalled", message=message)
    call = trace.root.children[0]
    call.attributes.update(
        {
            "gen_ai.response.model": "gpt-4.1-mini-2026-04-14",
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.usage.input_tokens": 21,
            "gen_ai.usage.output_tokens": 2,
            "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"Reply with pong."}]}]',
            "gen_ai.output.messages": msgspec.json.encode(
                [{"role": "assistant", "parts": [{"type": "text", "content": f"pong {message}"}]}]
            ).decode(),
        }
    )
    return _numbered(trace, number)


def failed(number: int = 2) -> RunTrace:
    """Return a run of which all three attempts failed."""
    attempts = (
        make_phases(
            0.003,
            {"dns": 0.011, "connect": 0.031, "tls": 0.055, "headers": 0.35, "first_token": 0.38, "streaming": 2.2},
            "stream_cut",
            "connection reset after 41 tokens",
        ),
        make_phases(
            3.55, {"dns": 0.01, "connect": 0.03, "tls": 0.05, "headers": 3.0}, "server_error", "HTTP 503: upstream"
        ),
        make_phases(7.9, {"headers": 0.2, "first_token": 4.3}, "first_token_timeout", "no first token for 4.5 s"),
    )
    return _numbered(make_trace(*attempts, canary="chat-mini", fault="stream_cut", message="stream_cut: reset"), number)


def good(number: int = 3) -> RunTrace:
    """Return a run that was answered at once."""
    attempt = make_phases(0.002, {"headers": 0.31, "first_token": 0.29, "streaming": 0.66})
    return _numbered(make_trace(attempt, canary="chat-mini"), number)


def _numbered(trace: RunTrace, number: int) -> RunTrace:
    from datetime import UTC, datetime

    from msgspec.structs import replace

    run = replace(
        trace.run,
        run_id=f"{number:032d}",
        trace_id=f"f{number:031d}",
        started=datetime.fromtimestamp(NOON - 30 * number, UTC),
    )
    return replace(trace, run=run)
