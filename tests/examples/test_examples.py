"""Each example runs as a separate process against the simulator, with the documented result."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from streamcanary.simulator import Simulator
from support.servers.simulator import HANGING_TIMINGS

EXAMPLES = Path(__file__).parents[2] / "examples"
ANSWER = "Pong! The canary sings."
PART = "Pong! The"


class Ran(NamedTuple):
    """What a program printed, and its exit code."""

    out: str
    err: str
    code: int | None


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(timings=HANGING_TIMINGS) as simulator:
        yield simulator


async def run(simulator: Simulator, name: str, *arguments: str, within: float = 60.0) -> Ran:
    """Run an example until it exits; after ``within`` seconds it is killed, and has no exit code."""
    removed = ("OPENAI_", "OTEL_", "HTTP", "http", "ALL_PROXY", "all_proxy")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(removed)}
    environment |= {"OPENAI_BASE_URL": simulator.base_url, "OPENAI_API_KEY": "sk-x", "PYTHONUNBUFFERED": "1"}
    pipe = asyncio.subprocess.PIPE
    program = (sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *arguments)
    process = await asyncio.create_subprocess_exec(*program, stdout=pipe, stderr=pipe, env=environment)
    assert process.stdout and process.stderr
    reading = asyncio.gather(process.stdout.read(), process.stderr.read())
    try:
        await asyncio.wait_for(process.wait(), within)
        code = process.returncode
    except TimeoutError:
        process.kill()
        await process.wait()
        code = None
    out, err = await reading
    return Ran(out.decode(), err.decode(), code)


# The loop of tutorials, compared with the client library


async def test_both_programs_print_a_complete_answer(simulator: Simulator) -> None:
    """Without a fault, both programs print the same answer."""
    assert Ran(f"{ANSWER}\nanswer: {ANSWER}\n", "", 0) == await run(simulator, "tutorial_loop", "sim-ok")
    client = await run(simulator, "streamcanary_loop", "sim-ok")
    assert Ran(f"{ANSWER}\nanswer: {ANSWER}\nattempts: 1\n", "", 0) == client


async def test_truncated_stream_is_retried(simulator: Simulator) -> None:
    """The tutorial takes a truncated stream for an answer; the client retries, and gets the complete answer."""
    assert Ran(f"{PART}\nanswer: {PART}\n", "", 0) == await run(simulator, "tutorial_loop", "sim-truncated@1")
    simulator.restart_timeline()  # the next request is the first again
    client = await run(simulator, "streamcanary_loop", "sim-truncated@1")
    assert Ran(f"{PART}\n[restarted]\n{ANSWER}\nanswer: {ANSWER}\nattempts: 2\n", "", 0) == client


async def test_truncation_of_every_attempt_is_a_failure(simulator: Simulator) -> None:
    """When every attempt is truncated, the client reports the fault and who can fix it."""
    assert f"answer: {PART}\n" in (await run(simulator, "tutorial_loop", "sim-truncated")).out
    client = await run(simulator, "streamcanary_loop", "sim-truncated")
    assert (1, True, False) == (
        client.code,
        client.out.endswith("failed: stream_truncated, to be fixed by provider\nattempts: 3\n"),
        "answer:" in client.out,
    )


async def test_text_before_a_cut_is_not_repeated(simulator: Simulator) -> None:
    """After a cut, the tutorial has the first part twice, and the client has the answer once."""
    tutorial = await run(simulator, "tutorial_loop", "sim-cut@1")
    assert f"answer: {PART}{ANSWER}\n" in tutorial.out
    simulator.restart_timeline()
    client = await run(simulator, "streamcanary_loop", "sim-cut@1")
    assert f"{PART}\n[restarted]\n{ANSWER}\nanswer: {ANSWER}\nattempts: 2\n" == client.out


async def test_exhausted_quota_is_not_retried(simulator: Simulator) -> None:
    """At an exhausted quota the tutorial sends nine requests, including retries of the SDK; the client sends one."""
    assert 1 == (await run(simulator, "tutorial_loop", "sim-quota")).code
    nine = len(simulator.requests)
    client = await run(simulator, "streamcanary_loop", "sim-quota")
    assert (9, 1) == (nine, len(simulator.requests) - nine)
    assert "failed: quota_exhausted, to be fixed by quota\nattempts: 1\n" in client.out


async def test_html_response_is_a_config_fault(simulator: Simulator) -> None:
    """The tutorial takes an HTML page for an empty answer; the client reports a configuration fault."""
    assert Ran("\nanswer: \n", "", 0) == await run(simulator, "tutorial_loop", "sim-html-200")
    client = await run(simulator, "streamcanary_loop", "sim-html-200")
    assert (1, True) == (client.code, "failed: not_a_stream, to be fixed by config\nattempts: 1\n" in client.out)


async def test_keep_alives_do_not_prevent_a_retry(simulator: Simulator) -> None:
    """While a server sends keep-alive comments, the tutorial waits forever; the client retries after two seconds."""
    tutorial, client = await asyncio.gather(
        run(simulator, "tutorial_loop", "sim-keepalive-stall", within=4),
        run(simulator, "streamcanary_loop", "sim-keepalive-stall@1"),
    )
    assert (None, False) == (tutorial.code, "answer" in tutorial.out)
    assert f"answer: {ANSWER}\n" in client.out


# The other examples


async def test_fallbacks(simulator: Simulator) -> None:
    """The answer comes from another model, or from a call without streaming if only streams fail."""
    ran = await run(simulator, "fallbacks", "sim-500", "sim-ok", "1")
    tried = "   sim-500: server_error\n" * 2
    assert Ran(f"1: {ANSWER} [fallback]\n{tried}   sim-ok: ok\n", "", 0) == ran
    ran = await run(simulator, "fallbacks", "sim-cut@2", "sim-404", "2")
    failed = "   sim-cut@2: stream_cut\n" * 2 + "   sim-404: not_found\n"
    whole = f"1: {ANSWER} [non_streaming]\n{failed}   sim-cut@2:whole: ok\n"
    assert Ran(f"{whole}2: {ANSWER} [primary]\n   sim-cut@2: ok\n", "", 0) == ran


async def test_cache_returns_the_last_answer() -> None:
    """The cache returns the last answer of a provider that fails after it."""
    from streamcanary.simulator import RecordedRequest
    from support.servers.provider import MODEL, FakeProvider

    class Failing(FakeProvider):
        def __init__(self) -> None:
            super().__init__()
            self._handler._on_request = self._fail_from_now_on

        def _fail_from_now_on(self, request: RecordedRequest) -> None:
            self.set_fault("500")

    async with Failing() as provider:
        ran = await run(provider, "fallbacks", MODEL, "sim-404", "2")
    failed = f"   {MODEL}: server_error\n" * 2 + f"   sim-404: not_found\n   {MODEL}:whole: server_error\n"
    assert Ran(f"1: {ANSWER} [primary]\n   {MODEL}: ok\n2: {ANSWER} [cache]\n{failed}", "", 0) == ran


@pytest.mark.parametrize(
    ("mode", "out", "code"), [("buffer", ANSWER, 0), ("restart", PART + ANSWER, 0), ("fail", PART, 1)]
)
async def test_buffered(simulator: Simulator, mode: str, out: str, code: int) -> None:
    """With ``buffer``, stdout has the answer alone; otherwise it also has the text before the cut."""
    ran = await run(simulator, "buffered", "sim-cut@1", mode)
    assert (out, code) == (ran.out, ran.code)
    assert ("restarted" in ran.err, f"failed: stream_cut after {PART!r}" in ran.err) == (
        mode == "restart",
        mode == "fail",
    )


async def test_buffered_with_an_unknown_mode(simulator: Simulator) -> None:
    """An unknown mode is reported with the list of modes."""
    expected = Ran("", "the mode is one of restart, fail, buffer, not later\n", 1)
    assert expected == await run(simulator, "buffered", "sim-ok", "later")


async def test_tool_calls(simulator: Simulator) -> None:
    """The function is called with the complete arguments, which are streamed in pieces."""
    ran = await run(simulator, "tool_calls", "sim-tool-call")
    assert ('sing({"song":"pong"}) = ♪ pong ♪', 4, 0) == (ran.out.splitlines()[-1], len(ran.out.splitlines()), ran.code)


async def test_sync_threads(simulator: Simulator) -> None:
    """Eight threads share a client, and each gets the complete answer although two streams are cut."""
    ran = await run(simulator, "sync_threads", "sim-cut@2", "8")
    assert (f"8 times: {ANSWER}", "", 0) == (ran.out.splitlines()[0], ran.err, ran.code)
    assert 10 == len(simulator.requests)


async def test_sync_threads_share_a_budget(simulator: Simulator) -> None:
    """When all calls fail, a budget of thirty tokens allows six retries."""
    ran = await run(simulator, "sync_threads", "sim-500", "8")
    assert (Ran("8 times: server_error\nbudget: 0 of 30\n", "", 0), 14) == (ran, len(simulator.requests))


@pytest.mark.parametrize(
    ("model", "out", "code"),
    [
        ("sim-ok", f"{ANSWER}\nfinish_reason: stop\nstatus: completed\n", 0),
        ("sim-reasoning", f"The user wants pong.{ANSWER}\nfinish_reason: stop\nstatus: completed\n", 0),
        ("sim-length", f"{PART}\nfinish_reason: length\nstatus: incomplete\n", 0),
    ],
)
async def test_responses_api(simulator: Simulator, model: str, out: str, code: int) -> None:
    """The Responses API returns the answer, the finish reason, and the status of completion."""
    assert Ran(out, "", code) == await run(simulator, "responses_api", model)


async def test_responses_api_failed(simulator: Simulator) -> None:
    """A failed response is a fault, and is retried up to the configured number of attempts."""
    ran = await run(simulator, "responses_api", "sim-failed")
    assert (1, 2) == (ran.code, len(simulator.requests))
    assert "failed: server_error: The server had an error while processing your request." in ran.out


async def test_own_telemetry(simulator: Simulator) -> None:
    """The exporter of the application prints its span, the call, and two attempts of which one failed."""
    ran = await run(simulator, "own_telemetry", "sim-cut@1")
    spans = [re.fullmatch(r"(.+) span=(\w+) parent=(\w+) (.+)", line) for line in ran.out.splitlines()]
    names, ids, parents, ends = zip(*(span.groups() for span in spans if span), strict=True)
    assert ("POST", "POST", "chat sim-cut@1", "checkout") == names
    assert (ids[2], ids[2], ids[3], "none") == parents
    assert (
        "ERROR error.type=stream_cut http.response.status_code=200",
        "UNSET http.response.status_code=200 http.request.resend_count=1",
        "UNSET gen_ai.response.model=sim-cut@1",
        "UNSET",
    ) == ends
    assert ("", 0) == (ran.err, ran.code)


def test_each_example_has_a_usage_docstring() -> None:
    """Each program begins with a docstring that explains it, and how to run it."""
    programs = sorted(EXAMPLES.glob("*.py"))
    assert 8 == len(programs)
    for program in programs:
        text = program.read_text()
        assert True is (text.startswith('"""') and "OPENAI_BASE_URL" in text and "streamcanary simulate" in text)
