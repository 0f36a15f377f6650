"""Any story of runs, deliveries and crashes, against the promises that hold in all of them."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streamcanary.alerting.inputs import Answered, Started, Tick
from streamcanary.alerting.receivers.answer import Accepted, Refused, Retry
from streamcanary.model.incident import Action, Notice
from support.alerts import World, a_hook, alerts, bad, good, neutral, skipped

RECEIVERS = ("hook", "other")


class Story(RuleBasedStateMachine):
    """Two webhooks that lose answers, and a daemon that is killed at any instant."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(alerts(receivers={name: a_hook() for name in RECEIVERS}))
        self.heard: dict[str, list[Notice]] = {name: [] for name in RECEIVERS}
        self.on_the_way: dict[str, Notice] = {}
        self.doubtful: set[tuple[str, str, float]] = set()  # refused, after a try whose answer was lost

    @rule(run=st.sampled_from([good, bad, neutral, skipped]), times=st.integers(1, 4))
    def run(self, run: object, times: int) -> None:
        """Let the canary run."""
        self.world.see(*[run] * times)

    @rule(receiver=st.sampled_from(RECEIVERS))
    def send(self, receiver: str) -> None:
        """Send a notice; what comes of it is another matter."""
        if receiver not in self.on_the_way and (notice := self.world.begin(receiver)):
            self.on_the_way[receiver] = notice

    @rule(
        receiver=st.sampled_from(RECEIVERS), how=st.sampled_from(["accepted", "lost", "failed", "limited", "refused"])
    )
    def answer(self, receiver: str, how: str) -> None:
        """Let what is on the way arrive or not, and the answer, too."""
        if (notice := self.on_the_way.pop(receiver, None)) is None:
            return
        if how in ("accepted", "lost"):
            self.heard[receiver].append(notice)
        answer = {
            "accepted": Accepted(),
            "lost": Retry(reason="no answer"),
            "failed": Retry(reason="no answer"),
            "limited": Retry(reason="HTTP 429", after=45.0, definite=True),
            "refused": Refused("HTTP 400"),
        }[how]
        self.world.step(Answered(notice.id, answer, 0.5))
        settled = self.world.state.notices.get(notice.id)
        if how == "refused" and settled is not None and not settled.unheard:
            self.doubtful.add((receiver, notice.group, notice.opened))

    @rule(receiver=st.sampled_from(RECEIVERS))
    def arrive_and_crash(self, receiver: str) -> None:
        """Let the receiver have it, and the daemon die before it hears so."""
        if notice := self.on_the_way.pop(receiver, None):
            self.heard[receiver].append(notice)
        self.crash()

    @rule()
    def crash(self) -> None:
        """Killed, and started again on what the ledger has."""
        self.on_the_way.clear()
        self.world.crash()
        self.world.step(Started())

    @rule(seconds=st.sampled_from([1.0, 60.0, 3600.0, -120.0]))
    def wait(self, seconds: float) -> None:
        """Time passes, or is set back."""
        self.world.now += seconds
        self.world.step(Tick())

    @invariant()
    def the_ledger_is_the_state(self) -> None:
        """Nothing is known that a crash would lose."""
        rows = {(row.table, row.key): row.value for row in self.world.state.rows()}
        stored = {(table, key): value for table, rows in self.world.ledger.items() for key, value in rows.items()}
        assert rows == stored

    @invariant()
    def each_receiver_hears_in_order(self) -> None:
        """Of a group: an opening, its end, the next opening, its end; repetitions have the same id."""
        for receiver, heard in self.heard.items():
            groups: dict[str, list[Notice]] = {}
            for notice in heard:
                story = groups.setdefault(notice.group, [])
                if all(known.id != notice.id for known in story):
                    story.append(notice)
                else:
                    assert story[-1].id == notice.id
            for story in groups.values():
                opened = [notice.opened for notice in story if notice.action is Action.TRIGGER]
                assert len(set(opened)) == len(opened)
                for number, notice in enumerate(story):
                    if notice.action is Action.RESOLVE:
                        if (receiver, notice.group, notice.opened) in self.doubtful:
                            continue  # it may have been taken, so its end has to be told
                        assert number > 0
                        before = story[number - 1]
                        assert (before.action, before.opened) == (Action.TRIGGER, notice.opened)

    @invariant()
    def what_is_kept_is_bounded(self) -> None:
        """However long the story."""
        assert len(self.world.state.notices) <= 4 * 3 * len(RECEIVERS)

    def teardown(self) -> None:
        """Let all be well and everything get through: whoever heard that it fires has heard that it is over."""
        self.crash()
        self.world.see(good, good, good)
        for _ in range(40):
            self.world.now += 120
            for receiver in RECEIVERS:
                while notice := self.world.deliver(receiver):
                    self.heard[receiver].append(notice)
        for heard in self.heard.values():
            last = {notice.group: notice for notice in heard}
            about_runs = [notice for notice in last.values() if notice.members[0].rule == "Errors"]
            refused = {(n.group, n.opened) for n in self.world.state.notices.values() if n.action is Action.RESOLVE}
            for notice in about_runs:
                assert notice.action is Action.RESOLVE or (notice.group, notice.opened) in refused
        self.each_receiver_hears_in_order()


Story.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestStory = Story.TestCase
