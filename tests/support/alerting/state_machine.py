"""Random sequences of runs, deliveries, silences, reloads and crashes, with the invariants of alerting."""

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from streamcanary.alerting.engine.inputs import (
    BaselinesLearned,
    ConfigAccepted,
    ConfigRejected,
    SilenceCreated,
    SilenceDeleted,
    Started,
    StateReceiverReported,
    StoreFailed,
    StoreRecovered,
    Tick,
)
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.stored_rows import read_state
from streamcanary.alerting.notify.delivery.result import Accepted, Refused
from streamcanary.model.alerts.incident import Evidence, NotificationState
from streamcanary.model.alerts.silence import Silence
from support.alerting.config_variants import (
    CONFIG_VARIANTS,
    USUAL_TIMES,
    WEBHOOK_NAMES,
)
from support.alerting.world import BUDGETS, RUNS, AlertingWorld

MATCHERS = ('canary="a"', 'alert="Errors"', 'target="right"', 'instance="default"', 'scope="target"', 'scope="all"')


class AlertingStateMachine(AlertingWorld):
    """Some canaries, three receivers that lose responses, and a daemon that is killed at any time."""

    # ---- runs

    @rule(who=st.integers(0, 3), how=st.sampled_from([*RUNS, "skipped", *BUDGETS]), times=st.integers(1, 3))
    def run(self, who: int, how: str, times: int) -> None:
        """Process runs of one canary."""
        for _ in range(times):
            self._run(self.fleet[who % len(self.fleet)], how)

    @rule(how=st.sampled_from(["good", "slow", "bad", "unreachable", "rejected"]), times=st.integers(1, 2))
    def run_all(self, how: str, times: int) -> None:
        """Process runs of all canaries with the same result."""
        for _ in range(times):
            for canary in self.fleet:
                self._run(canary, how)

    @rule(limit=st.sampled_from([None, 1.0, 5.0]), members=st.integers(1, 4))
    def learn(self, limit: float | None, members: int) -> None:
        """Learn the usual times of some canaries, or nothing, for each rule that learns."""
        limits = {} if limit is None else {canary.identity: (limit,) for canary in self.fleet[:members]}
        baseline = msgspec.structs.replace(USUAL_TIMES, limits=limits)
        learned = {
            each.key: baseline if any(canary.identity in limits for canary in each.canaries) else None
            for each in self.harness.engine.bindings.learning
        }
        self._step(BaselinesLearned(learned))

    # ---- time

    @rule(ticks=st.integers(1, 12), seconds=st.sampled_from([5.0, 15.0, 30.0]))
    def wait(self, ticks: int, seconds: float) -> None:
        """Advance the clock in ticks."""
        for _ in range(ticks):
            self._advance(seconds)

    @rule(seconds=st.sampled_from([-7200.0, -120.0, -1.0, 45.0, 3600.0]))
    def jump(self, seconds: float) -> None:
        """Step the clock: it is set, or the machine was suspended."""
        self.harness.now += seconds
        if seconds < 0:
            self.firing_unmuted_since = dict.fromkeys(self.firing_unmuted_since, self.elapsed)
        self._step(Tick())

    # ---- deliveries

    @rule(receiver=st.sampled_from(WEBHOOK_NAMES))
    def send(self, receiver: str) -> None:
        """Start sending the next notification to a receiver."""
        if receiver not in self.in_flight and (notification := self.harness.start_send(receiver)):
            self.in_flight[receiver] = notification

    @rule(
        receiver=st.sampled_from(WEBHOOK_NAMES),
        how=st.sampled_from(["accepted", "lost", "failed", "limited", "refused"]),
    )
    def answer(self, receiver: str, how: str) -> None:
        """Finish a send in flight: the notification and its response arrive or are lost."""
        if (notification := self.in_flight.pop(receiver, None)) is not None:
            self._answer(receiver, notification, how)

    @rule(
        receiver=st.sampled_from(WEBHOOK_NAMES),
        how=st.sampled_from(["accepted", "accepted", "lost", "limited", "refused"]),
    )
    def deliver(self, receiver: str, how: str) -> None:
        """Send all due notifications to a receiver, with the same result for each."""
        for _ in range(20):
            self.send(receiver)
            if receiver not in self.in_flight:
                break
            self.answer(receiver, how)

    @rule(receiver=st.sampled_from(WEBHOOK_NAMES))
    def receive_and_crash(self, receiver: str) -> None:
        """Kill the daemon after a receiver got a notification and before the response arrives."""
        if notification := self.in_flight.pop(receiver, None):
            self.receiver_models[receiver].receive(notification)
        self.crash()

    @rule(accepts=st.booleans())
    def report_state_receiver(self, accepts: bool) -> None:
        """Report that the state receiver accepts or refuses."""
        if "prom" in self.harness.config.receivers:
            self._step(StateReceiverReported("prom", Accepted() if accepts else Refused("HTTP 400")))

    # ---- operators

    @rule(
        id=st.sampled_from(["x", "y"]), match=st.sampled_from(MATCHERS), seconds=st.sampled_from([20.0, 120.0, 900.0])
    )
    def silence(self, id: str, match: str, seconds: float) -> None:  # noqa: A002
        """Create or replace a silence."""
        self._step(
            SilenceCreated(Silence(id=id, match=(match,), starts=self.harness.now, until=self.harness.now + seconds))
        )

    @rule(id=st.sampled_from(["x", "y"]))
    def unsilence(self, id: str) -> None:  # noqa: A002
        """Delete a silence."""
        self._step(SilenceDeleted(id))

    @rule(data=st.data(), part=st.sampled_from(sorted(CONFIG_VARIANTS)))
    def reload(self, data: st.DataObject, part: str) -> None:
        """Replace one part of the configuration."""
        self.set_variant(part, data.draw(st.sampled_from(sorted(CONFIG_VARIANTS[part]))))

    @rule(data=st.data(), part=st.sampled_from(sorted(CONFIG_VARIANTS)))
    def hot_reload(self, data: st.DataObject, part: str) -> None:
        """Replace one part of the configuration while the daemon runs; what is being sent is sent."""
        self.set_variant(part, data.draw(st.sampled_from(sorted(CONFIG_VARIANTS[part]))), hot=True)

    @rule(accepted=st.booleans())
    def change_file(self, accepted: bool) -> None:
        """Change the configuration file to a valid or an invalid one."""
        self._step(ConfigAccepted() if accepted else ConfigRejected("line 3: unknown key"))

    # ---- failures

    @rule()
    def crash(self) -> None:
        """Kill and restart the daemon on the stored rows, which creates no notification that was not due."""
        self._step(ConfigAccepted())  # a daemon starts with a valid configuration only
        self._step(Tick())
        self.in_flight.clear()
        before = self.harness.state.notifications
        self.harness.crash()
        self._step(Started())
        after = self.harness.state.notifications
        assert before.keys() == after.keys()
        for key, notification in before.items():
            assert notification.state is NotificationState.PARKED or notification == after[key]

    @rule(fails=st.booleans())
    def store(self, fails: bool) -> None:
        """Make the store fail or recover."""
        self._step(StoreFailed("disk full") if fails else StoreRecovered())

    @rule(how=st.sampled_from(["good", "bad", "unreachable"]), answer=st.sampled_from(["accepted", "lost", "refused"]))
    def start_with_unreadable_store(self, how: str, answer: str) -> None:
        """Start with an unreadable store, process runs and send notifications from memory, then read the store.

        Does nothing if the grouping has changed: one alert is then notified in two groups, and each group resolves.
        """
        groups, bindings = self.harness.engine.groups, self.harness.engine.bindings
        known_state = self.harness.state
        for group in known_state.groups.values():
            members = [known_state.incidents[key] for key in group.members if key in known_state.incidents]
            if group.is_firing and any(
                groups.key_and_labels(member, bindings.key_parts(member))[0] != group.key for member in members
            ):
                return
        self.in_flight.clear()
        for model in self.receiver_models.values():
            model.mark_possibly_notified()
        harness = self.harness
        stored = {table: dict(rows) for table, rows in harness.stored_rows.items()}
        self._replace_state(State())
        self._step(StoreFailed("cannot be read"))
        self._step(Started())
        self.run_all(how=how, times=2)
        self._advance(15.0)
        for receiver in WEBHOOK_NAMES:
            self.deliver(receiver, answer)
        self.in_flight.clear()
        self._replace_state(harness.state.merge(read_state(stored)[0]))
        self._step(Started())
        self._step(StoreRecovered())

    @rule()
    def lose_store(self) -> None:
        """Restart with an empty store."""
        self.in_flight.clear()
        harness = self.harness
        engine = harness.engine
        reconciled: dict[str, set[str]] = {name: set() for name in WEBHOOK_NAMES}
        for binding in engine.bindings:
            incident = engine.bindings.incident_of(binding, harness.now, Evidence())
            group, _ = engine.groups.key_and_labels(incident, engine.bindings.key_parts(incident))
            for name in engine.groups.reconciling_receivers(engine.groups.receivers_for(incident)):
                reconciled[name].add(group)
        for name, model in self.receiver_models.items():
            model.reset()
            for group in model.firing_by_group.keys() - reconciled[name]:
                del model.firing_by_group[group]
        self._replace_state(State())
        self._step(Started())

    # ---- invariants

    @invariant()
    def stored_rows_equal_the_state(self) -> None:
        """Assert that the stored rows are the whole state, so that a crash loses nothing."""
        rows = {(row.table, row.key): row.value for row in self.harness.state.rows()}
        tables = self.harness.stored_rows
        stored = {(table, key): value for table, rows in tables.items() for key, value in rows.items()}
        assert rows == stored

    @invariant()
    def receivers_know_the_notified_members(self) -> None:
        """Assert that a receiver that accepted every notification knows the notified members."""
        state = self.harness.state
        for group in state.groups.values():
            for receiver in (
                self.harness.engine.groups.event_receivers(group.receivers)
                if group.is_firing and group.notified_members
                else ()
            ):
                model = self.receiver_models[receiver]
                mine = [n for n in state.notifications.values() if (n.receiver, n.group) == (receiver, group.key)]
                if (
                    any(n.state is not NotificationState.ACCEPTED for n in mine)
                    or group.key in model.groups_with_refusal
                ):
                    continue
                believed = model.firing_by_group.get(group.key, set())
                assert believed <= set(group.notified_members)
                assert not any(state.incidents[key].is_firing for key in set(group.notified_members) - believed)

    def teardown(self) -> None:
        """Let all canaries recover and all sends succeed: each notified receiver gets the resolve."""
        for silence in list(self.harness.state.silences):
            self.unsilence(silence)
        for receiver in tuple(self.in_flight):
            self.answer(receiver, "lost")
        self.set_variant("windows", "never")
        self._step(StoreRecovered())
        self.report_state_receiver(accepts=True)
        for how in ("broken", "good", "good", "good"):
            self._settle(how)
        state = self.harness.state
        pending = [each for each in state.notifications.values() if each.state is NotificationState.PENDING]
        assert pending == []
        assert {incident.rule for incident in state.incidents.values() if incident.is_firing} <= {"ReceiverFailing"}
        firing = {group.key for group in state.groups.values() if group.is_firing}
        for name, model in self.receiver_models.items():
            assert model.firing_by_group.keys() <= firing | model.groups_with_refusal, name

    def _settle(self, how: str) -> None:
        for _ in range(10):
            self._advance(15.0)
            for canary in self.fleet:
                self._run(canary, how)
            for receiver in WEBHOOK_NAMES:
                self.deliver(receiver, "accepted")
