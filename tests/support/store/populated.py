"""A store with rows in every table, as a daemon with an outage leaves it, and what a start reads from it."""

from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from streamcanary.alerting.engine.inputs import RunFinished, SilenceCreated, Started, Tick
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.engine.stored_rows import UnreadableRow, read_state
from streamcanary.alerting.learning.baseline import LearnedRate, RequestSince
from streamcanary.alerting.notify.message import render_notification
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome
from streamcanary.model.spend import Spend
from streamcanary.store.database import Store
from streamcanary.store.tables import history
from support.alerting.builders import NOON, EngineHarness, a_run, alerts, bad, good, pagerduty_config, webhook_config
from support.store.builders import open_store

CANARIES = tuple(Canary(name=name, target="t", provider="p", interval=30.0) for name in ("a", "b", "c"))
RULES: dict[str, Any] = {
    "Spike": {"detector": {"type": "spike"}},
    "Ratio": {"detector": {"type": "ratio", "over": "5m", "threshold": "50%", "min_samples": 5}},
    "Row": {"detector": {"type": "consecutive", "failures": 3}},
    "Burn": {
        "detector": {"type": "burn_rate", "objective": "90%", "windows": [{"long": "30m", "short": "5m", "rate": 3}]}
    },
    "NoData": {},
}
RECEIVERS = {"hook": webhook_config(), "oncall": pagerduty_config()}
DAYS = {
    f"2026-02-{day:02}": Spend(input_tokens=day, output_tokens=2, input_usd=0.25 * day, output_usd=0.5, requests=10)
    for day in range(1, 6)
}


class Content(NamedTuple):
    """What a start reads from a store."""

    state: State
    unreadable: list[UnreadableRow]
    spend: dict[str, Spend]
    runs: list[Outcome]


def outage_harness() -> EngineHarness:
    """Return an engine with two canaries that fail, one that is well, a silence, and undelivered notifications."""
    harness = EngineHarness(alerts(rules=RULES, receivers=RECEIVERS, group_by=["alert"]), *CANARIES)
    harness.step(Started())
    harness.step(SilenceCreated(Silence(id="s1", match=('canary="c"',), starts=NOON, until=NOON + 3600)))
    for number in range(12):
        for canary in CANARIES:
            run = good(number) if canary.name == "c" or number < 4 else bad(number)
            harness.now = run.started + 2
            harness.step(RunFinished(_of(canary, run, number)))
        harness.step(Tick())
        harness.deliver("hook")
    baselines = {
        "1" * 32: LearnedRate(bad=3, total=2880, upper_bound=0.0027, autocorrelation=0.1, learned_at=NOON),
        "canary:a": RequestSince(digest="0123456789abcdef", since=NOON),
    }
    harness.state = msgspec.structs.replace(harness.state, baselines=baselines)
    return harness


def _of(canary: Canary, run: Outcome, number: int) -> Outcome:
    return a_run(number, run.kind, run.fault, run_id=f"{canary.name}-{number}", canary=canary.name)


async def populate(path: Path) -> Content:
    """Create the store at ``path``, and return its content."""
    harness = outage_harness()
    store = open_store(path)
    runs = [_of(canary, bad(number), number) for number in range(20) for canary in CANARIES]
    await store.commit(harness.state.rows(), runs)
    await store.save_spend(DAYS)
    content = await read_content(store)
    await store.close()
    return content


async def read_content(store: Store) -> Content:
    """Read everything that a start reads."""
    state, unreadable = read_state(await store.load_rows())
    runs = await store.read(lambda connection: history.recent_runs(connection, limit=1000))
    return Content(state, unreadable, await store.load_spend(), runs)


def start_alerting(content: Content) -> State:
    """Start the engine on ``content``, let each canary run, and render each notification; return the state."""
    harness = outage_harness()
    engine, now = Engine(harness.config, "default", CANARIES), harness.now + 60
    rows = tuple((row.table, row.key) for row in content.unreadable)
    state, _ = engine.step(content.state, Started(unreadable_rows=rows), now)
    for number in range(14, 30):
        for canary in CANARIES:
            state, _ = engine.step(state, RunFinished(_of(canary, good(number), number)), NOON + 30 * number + 2)
        state, _ = engine.step(state, Tick(), NOON + 30 * number + 3)
    for notification in state.notifications.values():
        render_notification(notification)
    return state
