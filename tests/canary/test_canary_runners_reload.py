"""What a reload keeps of the runners: clients with their connections, and the memory of what answered."""

import asyncio
from typing import Any

import pytest

from streamcanary.canary import runners as module
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import OutcomeKind
from streamcanary.transport.tls import TlsFileError
from support.servers.provider import MODEL, FakeProvider

CLOCK = SystemClock()


def target(url: str = "http://127.0.0.1:9/v1", **more: Any) -> TargetSpec:
    """Build a target."""
    return TargetSpec.model_validate({"base_url": url, "api_key": "k", **more})


def spec(target: str = "t", **more: Any) -> CanarySpec:
    """Build a canary."""
    retry = {"max_attempts": 1}
    return CanarySpec.model_validate({"target": target, "model": MODEL, "retry": retry, **more})


def reload(runners: CanaryRunners, targets: dict[str, TargetSpec], canaries: dict[str, CanarySpec]) -> None:
    """Replace targets and canaries."""
    runners.prepare(targets, canaries, {})
    runners.apply()


async def test_only_what_has_changed_is_replaced() -> None:
    """Canaries keep their runner unless they, or a target that they use, have changed."""
    targets = {"t": target(), "u": target("http://127.0.0.1:10/v1")}
    fallback = spec(fallbacks=[{"model": "m", "target": "u"}])
    canaries = {"stays": spec(), "changes": spec(), "of-u": spec("u"), "falls-back": fallback, "goes": spec()}
    async with CanaryRunners(targets, canaries, clock=CLOCK) as runners:
        before = dict(runners.by_name)
        after = {**canaries, "changes": spec(labels={"tier": "prod"}), "comes": spec()}
        del after["goes"]
        reload(runners, {**targets, "u": target("http://127.0.0.1:10/v1", provider="other")}, after)
        kept = {name for name, runner in runners.by_name.items() if before.get(name) is runner}
        assert ({"stays"}, set(after)) == (kept, set(runners.by_name))


async def test_a_replaced_runner_remembers_what_answered_it() -> None:
    """A change of a label is no change of the model; another model, or another endpoint, is another memory."""
    async with CanaryRunners({"t": target()}, {"c": spec()}, clock=CLOCK) as runners:
        tracker = runners.by_name["c"]._model_watch._tracker
        reload(runners, {"t": target()}, {"c": spec(every="1h")})
        assert tracker is runners.by_name["c"]._model_watch._tracker
        reload(runners, {"t": target()}, {"c": spec(model="other")})
        assert tracker is not runners.by_name["c"]._model_watch._tracker


async def test_what_cannot_be_prepared_has_no_effect(tmp_path: Any) -> None:
    """A certificate that cannot be read leaves the runners as they are."""
    (tmp_path / "ca.pem").write_text("no certificate")
    async with CanaryRunners({"t": target()}, {"c": spec()}, clock=CLOCK) as runners:
        before = runners.by_name
        with pytest.raises(TlsFileError):
            runners.prepare({"t": target("https://127.0.0.1:9/v1", ca_file=tmp_path / "ca.pem")}, {"c": spec()}, {})
        assert before is runners.by_name


async def test_a_run_keeps_its_connection_until_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that changes during a run gets new clients; the former one is closed only after the longest run."""
    monkeypatch.setattr(module, "MAX_OVERTIME", 0.0)
    async with FakeProvider("stall") as provider:
        canary = spec(timeouts={"stall": "500ms", "total": "2s"})
        async with CanaryRunners({"t": target(provider.base_url)}, {"c": canary}, clock=CLOCK) as runners:
            run = asyncio.create_task(runners.by_name["c"](CLOCK.time()))
            await asyncio.sleep(0.1)
            [former] = runners._setup.clients.values()
            reload(runners, {"t": target(provider.base_url, headers={"a": "b"})}, {"c": canary})
            [current] = runners._setup.clients.values()
            assert (False, True) == (former.is_closed(), former is not current)
            outcome = await run
            assert outcome.fault is not None
            assert (OutcomeKind.FAILED, FaultKind.STALLED) == (outcome.kind, outcome.fault.kind)
            async with asyncio.timeout(10):
                while not former.is_closed():
                    await asyncio.sleep(0.01)
            assert not current.is_closed()
