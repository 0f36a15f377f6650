"""The examples do what they say, each as a program of its own, against the simulator."""

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
    """Run an example to its end; one that takes longer than ``within`` seconds is killed, and has no exit code."""
    own = ("OPENAI_", "OTEL_", "HTTP", "http", "ALL_PROXY", "all_proxy")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
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


# The loop of the tutorials, and what becomes of it


async def test_a_whole_answer_is_one_to_both(simulator: Simulator) -> None:
    """Where nothing breaks, both print the answer, and it is the same."""
    assert Ran(f"{ANSWER}\nanswer: {ANSWER}\n", "", 0) == await run(simulator, "tutorial_loop", "sim-ok")
    ours = await run(simulator, "streamcanary_loop", "sim-ok")
    assert Ran(f"{ANSWER}\nanswer: {ANSWER}\nattempts: 1\n", "", 0) == ours


async def test_half_an_answer(simulator: Simulator) -> None:
    """A stream that ends in the middle is an answer to the tutorial; ours tries again, and gets the whole one."""
    assert Ran(f"{PART}\nanswer: {PART}\n", "", 0) == await run(simulator, "tutorial_loop", "sim-truncated@1")
    simulator.restart_timeline()  # the next request is the first again
    ours = await run(simulator, "streamcanary_loop", "sim-truncated@1")
    assert Ran(f"{PART}\n[restarted]\n{ANSWER}\nanswer: {ANSWER}\nattempts: 2\n", "", 0) == ours


async def test_half_an_answer_is_never_one(simulator: Simulator) -> None:
    """When every attempt is cut short, ours says so, and whom to turn to."""
    assert f"answer: {PART}\n" in (await run(simulator, "tutorial_loop", "sim-truncated")).out
    ours = await run(simulator, "streamcanary_loop", "sim-truncated")
    assert (1, True, False) == (
        ours.code,
        ours.out.endswith("failed: stream_truncated, to be fixed by provider\nattempts: 3\n"),
        "answer:" in ours.out,
    )


async def test_text_that_comes_twice(simulator: Simulator) -> None:
    """After a cut the tutorial has the first part twice; ours has the answer, once."""
    tutorial = await run(simulator, "tutorial_loop", "sim-cut@1")
    assert f"answer: {PART}{ANSWER}\n" in tutorial.out
    simulator.restart_timeline()
    ours = await run(simulator, "streamcanary_loop", "sim-cut@1")
    assert f"{PART}\n[restarted]\n{ANSWER}\nanswer: {ANSWER}\nattempts: 2\n" == ours.out


async def test_an_empty_account(simulator: Simulator) -> None:
    """The tutorial asks nine times for what no retry can give, the SDK's own retries included; ours asks once."""
    assert 1 == (await run(simulator, "tutorial_loop", "sim-quota")).code
    nine = len(simulator.requests)
    ours = await run(simulator, "streamcanary_loop", "sim-quota")
    assert (9, 1) == (nine, len(simulator.requests) - nine)
    assert "failed: quota_exhausted, to be fixed by quota\nattempts: 1\n" in ours.out


async def test_a_login_page(simulator: Simulator) -> None:
    """To the tutorial a page of HTML is an empty answer; to ours it is no stream, and a matter of configuration."""
    assert Ran("\nanswer: \n", "", 0) == await run(simulator, "tutorial_loop", "sim-html-200")
    ours = await run(simulator, "streamcanary_loop", "sim-html-200")
    assert (1, True) == (ours.code, "failed: not_a_stream, to be fixed by config\nattempts: 1\n" in ours.out)


async def test_signs_of_life(simulator: Simulator) -> None:
    """While a server sends pings the tutorial waits for ever; ours goes on to the next attempt after two seconds."""
    forever, ours = await asyncio.gather(
        run(simulator, "tutorial_loop", "sim-keepalive-stall", within=4),
        run(simulator, "streamcanary_loop", "sim-keepalive-stall@1"),
    )
    assert (None, False) == (forever.code, "answer" in forever.out)
    assert f"answer: {ANSWER}\n" in ours.out


# The others


async def test_fallbacks(simulator: Simulator) -> None:
    """Another model answers; or, where only streams break, a whole body; or, where all fail, the last good answer."""
    ran = await run(simulator, "fallbacks", "sim-500", "sim-ok", "1")
    tried = "   sim-500: server_error\n" * 2
    assert Ran(f"1: {ANSWER} [fallback]\n{tried}   sim-ok: ok\n", "", 0) == ran
    ran = await run(simulator, "fallbacks", "sim-cut@2", "sim-404", "2")
    failed = "   sim-cut@2: stream_cut\n" * 2 + "   sim-404: not_found\n"
    whole = f"1: {ANSWER} [non_streaming]\n{failed}   sim-cut@2:whole: ok\n"
    assert Ran(f"{whole}2: {ANSWER} [primary]\n   sim-cut@2: ok\n", "", 0) == ran


async def test_the_last_good_answer() -> None:
    """A provider that answers once and then never again is answered for by the cache."""
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
    """What goes down a pipe is the answer alone if it is buffered; else what had come before the cut is there too."""
    ran = await run(simulator, "buffered", "sim-cut@1", mode)
    assert (out, code) == (ran.out, ran.code)
    assert ("restarted" in ran.err, f"failed: stream_cut after {PART!r}" in ran.err) == (
        mode == "restart",
        mode == "fail",
    )


async def test_buffered_with_an_unknown_mode(simulator: Simulator) -> None:
    """A mode that there is none of is told, with those that there are."""
    expected = Ran("", "the mode is one of restart, fail, buffer, not later\n", 1)
    assert expected == await run(simulator, "buffered", "sim-ok", "later")


async def test_tool_calls(simulator: Simulator) -> None:
    """The arguments come in pieces, and the function is called with the whole of them."""
    ran = await run(simulator, "tool_calls", "sim-tool-call")
    assert ('sing({"song":"pong"}) = ♪ pong ♪', 4, 0) == (ran.out.splitlines()[-1], len(ran.out.splitlines()), ran.code)


async def test_sync_threads(simulator: Simulator) -> None:
    """Eight threads share a client; each of them gets the whole answer, whatever happened to some on the way."""
    ran = await run(simulator, "sync_threads", "sim-cut@2", "8")
    assert (f"8 times: {ANSWER}", "", 0) == (ran.out.splitlines()[0], ran.err, ran.code)
    assert 10 == len(simulator.requests)


async def test_sync_threads_share_a_budget(simulator: Simulator) -> None:
    """When all fail, thirty tokens pay for six retries, and no more are made."""
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
    """The same through the other API, which says of itself whether it is complete."""
    assert Ran(out, "", code) == await run(simulator, "responses_api", model)


async def test_responses_api_failed(simulator: Simulator) -> None:
    """A response that has failed is a fault, tried again as often as was asked for."""
    ran = await run(simulator, "responses_api", "sim-failed")
    assert (1, 2) == (ran.code, len(simulator.requests))
    assert "failed: server_error: The server had an error while processing your request." in ran.out


async def test_own_telemetry(simulator: Simulator) -> None:
    """The application's exporter prints three levels: its own span, the call, and two attempts of which one failed."""
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


def test_each_example_says_what_it_shows() -> None:
    """Every program begins with a docstring that says what it shows, and how to run it."""
    programs = sorted(EXAMPLES.glob("*.py"))
    assert 8 == len(programs)
    for program in programs:
        text = program.read_text()
        assert True is (text.startswith('"""') and "OPENAI_BASE_URL" in text and "streamcanary simulate" in text)
