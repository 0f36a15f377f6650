"""Any story of runs, deliveries, silences, reloads and crashes, against the promises that hold in all of them."""

from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.inputs import (
    RunFinished,
    SendFinished,
    SilenceCreated,
    SilenceDeleted,
    Started,
    StateReceiverReported,
    StoreFailed,
    StoreRecovered,
    Tick,
)
from streamcanary.alerting.engine.state import Draft, State, read_state
from streamcanary.alerting.notify.receivers.delivery_result import Accepted, Refused, Retry
from streamcanary.model.alerts.incident import Evidence, Notification, NotificationState
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.canary import Canary
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import BudgetState, Outcome, OutcomeKind
from support.alerting.builders import EngineHarness, a_fault, a_run, alerts
from support.alerting.config_variants import (
    CANARY_VARIANTS,
    CONFIG_VARIANTS,
    GROUP_BY_VARIANTS,
    MAINTENANCE_VARIANTS,
    RECEIVER_VARIANTS,
    ROUTE_VARIANTS,
    RULE_VARIANTS,
    WEBHOOK_NAMES,
)
from support.alerting.invariants import ReceiverModel, is_silenced
from support.hypothesis_profile import PROFILE

WAIT, INTERVAL, REPEAT, LONGEST_TICK = 10.0, 60.0, 600.0, 30.0
RUNS: dict[str, tuple[OutcomeKind, FaultKind | None]] = {
    "good": (OutcomeKind.OK, None),
    "slow": (OutcomeKind.SLOW, None),
    "bad": (OutcomeKind.FAILED, FaultKind.STALLED),
    "rescued": (OutcomeKind.FAILED_OVER, FaultKind.STALLED),
    "unreachable": (OutcomeKind.FAILED, FaultKind.CONNECT_FAILED),
    "rejected": (OutcomeKind.FAILED, FaultKind.AUTH_FAILED),
    "broken": (OutcomeKind.INTERNAL_ERROR, None),
}
BUDGETS = {"unbudgeted": BudgetState.EXHAUSTED, "slowed": BudgetState.SLOWED}
MATCHERS = ('canary="a"', 'alert="Errors"', 'target="right"', 'instance="default"')


class Story(RuleBasedStateMachine):
    """Some canaries, three receivers that lose answers, and a daemon that is killed at any instant."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = {"fleet": "all", "rules": "both", "receivers": "all", "routes": "to all", "groups": "by alert"}
        self.shape["windows"] = "never"
        self.world = EngineHarness(self.config, *self.fleet)
        self.world.step(Started())
        self.listeners = {name: ReceiverModel() for name in WEBHOOK_NAMES}
        self.on_the_way: dict[str, Notification] = {}
        self.elapsed = 0.0
        self.loud: dict[tuple[str, float], float] = {}
        self.number = 0

    @property
    def fleet(self) -> tuple[Canary, ...]:
        """The canaries there are now."""
        return CANARY_VARIANTS[self.shape["fleet"]]

    @property
    def config(self) -> AlertsConfig:
        """The configuration as it is now."""
        receivers = RECEIVER_VARIANTS[self.shape["receivers"]]
        return alerts(
            rules={"TargetRejected": {}, "NoData": {}, **RULE_VARIANTS[self.shape["rules"]]},
            receivers=receivers,
            routes=ROUTE_VARIANTS[self.shape["routes"]],
            group_by=GROUP_BY_VARIANTS[self.shape["groups"]],
            group_wait=WAIT,
            group_interval=INTERVAL,
            repeat_interval=REPEAT,
            maintenance=MAINTENANCE_VARIANTS[self.shape["windows"]],
        )

    # ---- runs

    @rule(who=st.integers(0, 3), how=st.sampled_from([*RUNS, "skipped", *BUDGETS]), times=st.integers(1, 3))
    def run(self, who: int, how: str, times: int) -> None:
        """Let a canary run."""
        for _ in range(times):
            self._run(self.fleet[who % len(self.fleet)], how)

    @rule(how=st.sampled_from(["good", "bad", "unreachable", "rejected"]), times=st.integers(1, 2))
    def run_all(self, how: str, times: int) -> None:
        """Let all canaries run, and the same come of it."""
        for _ in range(times):
            for one in self.fleet:
                self._run(one, how)

    def _run(self, one: Canary, how: str) -> None:
        self.number += 1
        at = self.world.now - 1.0
        run: Outcome
        if how in RUNS:
            kind, fault = RUNS[how]
            run = a_run(self.number, kind, fault and a_fault(fault), started=at, scheduled=at, duration=0.5)
        else:
            reason, budget = ("budget", BUDGETS[how]) if how in BUDGETS else ("overlap", None)
            times = {"started": at, "scheduled": at, "duration": 0.0}
            run = a_run(self.number, OutcomeKind.SKIPPED, **times, reason=reason, budget=budget)
        self._step(RunFinished(msgspec.structs.replace(run, canary=one.name, target=one.target, provider=one.provider)))

    # ---- time

    @rule(ticks=st.integers(1, 12), seconds=st.sampled_from([5.0, 15.0, 30.0]))
    def wait(self, ticks: int, seconds: float) -> None:
        """Let time pass, as it does."""
        for _ in range(ticks):
            self._pass(seconds)

    @rule(seconds=st.sampled_from([-7200.0, -120.0, -1.0, 45.0, 3600.0]))
    def jump(self, seconds: float) -> None:
        """Set the clock, or let the machine sleep."""
        self.world.now += seconds
        if seconds < 0:
            self.loud = dict.fromkeys(self.loud, self.elapsed)
        self._step(Tick())

    def _pass(self, seconds: float) -> None:
        self.world.now += seconds
        self.elapsed += seconds
        self._step(Tick())
        self.who_is_in_trouble_is_told_of_in_time()

    # ---- deliveries

    @rule(receiver=st.sampled_from(WEBHOOK_NAMES))
    def send(self, receiver: str) -> None:
        """Send a notice; what comes of it is another matter."""
        if receiver not in self.on_the_way and (notice := self.world.start_send(receiver)):
            self.on_the_way[receiver] = notice

    @rule(
        receiver=st.sampled_from(WEBHOOK_NAMES),
        how=st.sampled_from(["accepted", "lost", "failed", "limited", "refused"]),
    )
    def answer(self, receiver: str, how: str) -> None:
        """Let what is on the way arrive or not, and the answer, too."""
        if (notice := self.on_the_way.pop(receiver, None)) is not None:
            self._answer(receiver, notice, how)

    def _answer(self, receiver: str, notice: Notification, how: str) -> None:
        listener = self.listeners[receiver]
        if how in ("accepted", "lost"):
            listener.receive(notice)
        answer = {
            "accepted": Accepted(),
            "lost": Retry(reason="no answer"),
            "failed": Retry(reason="no answer"),
            "limited": Retry(reason="HTTP 429", retry_after=45.0, is_definitely_undelivered=True),
            "refused": Refused("HTTP 400"),
        }[how]
        self._step(SendFinished(notice.id, answer, 0.5))
        if how == "refused":
            listener.record_refusal(notice, self.world.state.notifications.get(notice.id))

    @rule(
        receiver=st.sampled_from(WEBHOOK_NAMES),
        how=st.sampled_from(["accepted", "accepted", "lost", "limited", "refused"]),
    )
    def deliver(self, receiver: str, how: str) -> None:
        """Send all that is due to a receiver, and let the same become of it."""
        for _ in range(20):
            self.send(receiver)
            if receiver not in self.on_the_way:
                break
            self.answer(receiver, how)

    @rule(receiver=st.sampled_from(WEBHOOK_NAMES))
    def arrive_and_crash(self, receiver: str) -> None:
        """Let the receiver have it, and the daemon die before it hears so."""
        if notice := self.on_the_way.pop(receiver, None):
            self.listeners[receiver].receive(notice)
        self.crash()

    @rule(well=st.booleans())
    def level(self, well: bool) -> None:
        """Let the level receiver accept or refuse."""
        if "prom" in self.world.config.receivers:
            self._step(StateReceiverReported("prom", Accepted() if well else Refused("HTTP 400")))

    # ---- people

    @rule(
        id=st.sampled_from(["x", "y"]), match=st.sampled_from(MATCHERS), seconds=st.sampled_from([20.0, 120.0, 900.0])
    )
    def silence(self, id: str, match: str, seconds: float) -> None:  # noqa: A002
        """Make a silence, or change one."""
        self._step(
            SilenceCreated(Silence(id=id, match=(match,), starts=self.world.now, until=self.world.now + seconds))
        )

    @rule(id=st.sampled_from(["x", "y"]))
    def unsilence(self, id: str) -> None:  # noqa: A002
        """End a silence."""
        self._step(SilenceDeleted(id))

    @rule(data=st.data(), part=st.sampled_from(sorted(CONFIG_VARIANTS)))
    def reload(self, data: st.DataObject, part: str) -> None:
        """Change a part of the configuration."""
        self._shape(part, data.draw(st.sampled_from(sorted(CONFIG_VARIANTS[part]))))

    def _shape(self, part: str, name: str) -> None:
        receivers = RECEIVER_VARIANTS[self.shape["receivers"]]
        self.shape[part] = name
        for gone in receivers.keys() - RECEIVER_VARIANTS[self.shape["receivers"]].keys():
            if gone in self.listeners:
                self.listeners[gone].reset()
                self.listeners[gone].firing_by_group.clear()
        self.on_the_way.clear()
        self.world.configure(self.config, *self.fleet)
        self.world.crash()
        self._step(Started())

    # ---- mishaps

    @rule()
    def crash(self) -> None:
        """Killed, and started again on what the ledger has: that says nothing that was not due anyway."""
        self._step(Tick())
        self.on_the_way.clear()
        before = self.world.state.notifications
        self.world.crash()
        self._step(Started())
        after = self.world.state.notifications
        assert before.keys() == after.keys()
        for key, notice in before.items():
            assert notice.state is NotificationState.PARKED or notice == after[key]

    @rule(fails=st.booleans())
    def store(self, fails: bool) -> None:
        """Let the store fail, or recover."""
        self._step(StoreFailed("disk full") if fails else StoreRecovered())

    @rule(how=st.sampled_from(["good", "bad", "unreachable"]), answer=st.sampled_from(["accepted", "lost", "refused"]))
    def start_blind(self, how: str, answer: str) -> None:
        """Start with a store that cannot be read, see and tell something from memory, and then read it.

        Not if groups were made in another way meanwhile: then one alert is told of twice, and each page is ended.
        """
        groups, pairs = self.world.engine.groups, self.world.engine.bindings
        known = self.world.state
        for group in known.groups.values():
            members = [known.incidents[key] for key in group.members if key in known.incidents]
            if group.is_firing and any(
                groups.key_and_labels(one, pairs.key_parts(one))[0] != group.key for one in members
            ):
                return
        self.on_the_way.clear()
        for listener in self.listeners.values():
            listener.mark_possibly_notified()
        world = self.world
        stored = {table: dict(rows) for table, rows in world.stored_rows.items()}
        self._hold(State())
        self._step(StoreFailed("cannot be read"))
        self._step(Started())
        self.run_all(how=how, times=2)
        self._pass(15.0)
        for receiver in WEBHOOK_NAMES:
            self.deliver(receiver, answer)
        self.on_the_way.clear()
        self._hold(world.state.merge(read_state(stored)[0]))
        self._step(Started())
        self._step(StoreRecovered())

    def _hold(self, state: State) -> None:
        """Go on from ``state``, and have the ledger say so."""
        self.world.state = state
        for table in self.world.stored_rows.values():
            table.clear()
        for row in state.rows():
            self.world.stored_rows[row.table][row.key] = row.value or b""

    @rule()
    def lose_the_store(self) -> None:
        """Start again with nothing."""
        self.on_the_way.clear()
        world = self.world
        engine = world.engine
        recalled: dict[str, set[str]] = {name: set() for name in WEBHOOK_NAMES}
        for pair in engine.bindings:
            incident = engine.bindings.canary_incident(pair, world.now, Evidence())
            group, _ = engine.groups.key_and_labels(incident, engine.bindings.key_parts(incident))
            for name in engine.groups.deduplicating_receivers(engine.groups.receivers_for(incident)):
                recalled[name].add(group)
        for name, listener in self.listeners.items():
            listener.reset()
            for group in listener.firing_by_group.keys() - recalled[name]:
                del listener.firing_by_group[group]
        self._hold(State())
        self._step(Started())

    # ---- what is promised

    def _step(self, given: Any) -> None:
        self.world.step(given)
        state, now, groups = self.world.state, self.world.now, self.world.engine.groups
        draft = Draft(state)
        loud = {}
        for incident in state.incidents.values():
            if incident.is_firing and groups._muter.mute_reason(draft, incident, now) is None:
                assert not is_silenced(self.world.config, state, incident, now)
                key = (incident.key, incident.opened)
                loud[key] = self.loud.get(key, self.elapsed)
        self.loud = loud

    def who_is_in_trouble_is_told_of_in_time(self) -> None:
        """After ``group_wait`` if it is a page of its own, after ``group_interval`` at most if it is an update."""
        state = self.world.state
        for (key, _), since in self.loud.items():
            homes = [group for group in state.groups.values() if group.is_firing and key in group.members]
            assert len(homes) == 1
            limit = (WAIT if homes[0].last_flush is None else INTERVAL) + LONGEST_TICK
            assert key in homes[0].notified_members or self.elapsed - since < limit

    @invariant()
    def the_ledger_is_the_state(self) -> None:
        """Nothing is known that a crash would lose."""
        rows = {(row.table, row.key): row.value for row in self.world.state.rows()}
        stored = {(table, key): value for table, rows in self.world.stored_rows.items() for key, value in rows.items()}
        assert rows == stored

    @invariant()
    def each_knows_what_was_delivered(self) -> None:
        """Who has accepted all that was said believes what was said."""
        state = self.world.state
        for group in state.groups.values():
            for receiver in (
                self.world.engine.groups.event_receivers(group.receivers)
                if group.is_firing and group.notified_members
                else ()
            ):
                listener = self.listeners[receiver]
                mine = [n for n in state.notifications.values() if (n.receiver, n.group) == (receiver, group.key)]
                if (
                    any(n.state is not NotificationState.ACCEPTED for n in mine)
                    or group.key in listener.groups_with_refusal
                ):
                    continue
                believed = listener.firing_by_group.get(group.key, set())
                assert believed <= set(group.notified_members)
                assert not any(state.incidents[key].is_firing for key in set(group.notified_members) - believed)

    def teardown(self) -> None:
        """Let all be well and everything get through: whoever heard that it fires has heard that it is over."""
        for silence in list(self.world.state.silences):
            self.unsilence(silence)
        for receiver in tuple(self.on_the_way):
            self.answer(receiver, "lost")
        self._shape("windows", "never")
        self._step(StoreRecovered())
        self.level(well=True)
        for how in ("broken", "good", "good", "good"):
            self._settle(how)
        state = self.world.state
        pending = [notice for notice in state.notifications.values() if notice.state is NotificationState.PENDING]
        assert pending == []
        assert {incident.rule for incident in state.incidents.values() if incident.is_firing} <= {"ReceiverFailing"}
        firing = {group.key for group in state.groups.values() if group.is_firing}
        for name, listener in self.listeners.items():
            assert listener.firing_by_group.keys() <= firing | listener.groups_with_refusal, name

    def _settle(self, how: str) -> None:
        for _ in range(10):
            self._pass(15.0)
            for one in self.fleet:
                self._run(one, how)
            for receiver in WEBHOOK_NAMES:
                self.deliver(receiver, "accepted")


EXAMPLES, STEPS, PARTS = (300, 60, 10) if PROFILE == "fuzz" else (50, 30, 1)


@pytest.mark.parametrize("part", range(PARTS))
def test_any_story_keeps_the_promises(part: int) -> None:
    """Whatever happens, in any order."""
    profile = settings.get_profile(PROFILE)
    run_state_machine_as_test(Story, settings=settings(profile, max_examples=EXAMPLES, stateful_step_count=STEPS))
