"""A provider that answers differently each time: its names, ids and codes cannot add series without limit."""

import asyncio
import json
from itertools import count, repeat

from pytest import MonkeyPatch

from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.cli.metric_series_estimate import max_series
from streamcanary.model.clock import SystemClock
from streamcanary.model.outcome import OutcomeKind
from support.telemetry.in_memory import RecordedTelemetry

CLOCK = SystemClock()
NUMBERS = count(1)
STATUSES = (400, 401, 403, 404, 418, 422, 429, 499, 500, 503, 599)


def answer(number: int) -> bytes:
    """Return a good answer, or an error whose status, code and type are new each time, in turns."""
    headers = (
        f"x-request-id: r{number}\r\nx-ratelimit-limit-requests: {number}\r\nx-ratelimit-remaining-requests: 1\r\n"
        f"server: s{number}\r\nopenai-model: m{number}\r\nconnection: close\r\n"
    )
    if number % 3 == 0:
        error = {"error": {"message": f"e{number}", "code": f"code-{number}", "type": f"type-{number}"}}
        body = json.dumps(error).encode()
        head = f"HTTP/1.1 {STATUSES[number // 3 % len(STATUSES)]} E{number}\r\ncontent-type: application/json\r\n"
    else:
        reason = "stop" if number % 3 == 1 else f"reason-{number}"
        chunk = {
            "id": f"id-{number}",
            "object": "chat.completion.chunk",
            "created": number,
            "model": f"model-{number}",
            "system_fingerprint": f"fp-{number}",
            "service_tier": f"tier-{number}",
            "choices": [{"index": 0, "delta": {"content": "pong"}, "finish_reason": reason}],
        }
        body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    return f"{head}{headers}content-length: {len(body)}\r\n\r\n".encode() + body


async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
    writer.write(answer(next(NUMBERS)))
    await writer.drain()
    writer.close()


async def test_the_number_of_series_stays_below_the_limit_of_check(recorded: RecordedTelemetry) -> None:
    """After hundreds of hostile answers, a canary has fewer series than ``check`` says it can have."""
    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        target = TargetSpec.model_validate({"base_url": base_url, "api_key": "none", "provider": "hostile"})
        retry = {"max_attempts": 1}
        spec = CanarySpec.model_validate({"target": "evil", "model": "asked", "every": "10s", "retry": retry})
        async with CanaryRunners({"evil": target}, {"attacked": spec}, clock=CLOCK) as runners:
            run = runners.by_name["attacked"]
            runners.metrics.initialize_series(run.canary)
            counts = []
            for _ in range(3):
                for _ in range(100):
                    await run(CLOCK.time())
                counts.append(recorded.series(canary="attacked"))
    assert counts[-1] < max_series([1], 0, 0)
    assert counts[1] == counts[2]  # nothing grows any more


async def test_names_and_ids_of_a_provider_add_no_series(recorded: RecordedTelemetry, monkeypatch: MonkeyPatch) -> None:
    """Another model, fingerprint, tier and id in each good answer: as many series as with the same ones each time."""
    counts = {}
    for name, number in (("steady", repeat(1)), ("churning", count(1, 3))):  # these numbers are of good answers
        monkeypatch.setattr(f"{__name__}.NUMBERS", number)
        async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
            base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            target = TargetSpec.model_validate({"base_url": base_url, "api_key": "none", "provider": "hostile"})
            spec = CanarySpec.model_validate({"target": "evil", "model": "asked", "every": "10s"})
            async with CanaryRunners({"evil": target}, {name: spec}, clock=CLOCK) as runners:
                run = runners.by_name[name]
                runners.metrics.initialize_series(run.canary)
                assert {OutcomeKind.OK} == {(await run(CLOCK.time())).kind for _ in range(20)}
                counts[name] = recorded.series(canary=name)
    assert counts["steady"] == counts["churning"]
