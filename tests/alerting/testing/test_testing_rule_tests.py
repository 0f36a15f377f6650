"""Unit tests for rules: what values mean, what is compared, and what is refused."""

import pytest
from pydantic import ValidationError

from streamcanary.alerting.testing.rule_tests import RulesUnderTest, TestFile, reference_issues, run_tests
from streamcanary.alerting.testing.series_notation import MAX_RUNS, parse_values
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import OutcomeKind
from support.alerting.builders import CHAT, alerts

RULE = {"detector": {"type": "consecutive", "failures": 3}, "labels": {"severity": "page"}}
LABELS = {"canary": "chat", "target": "target", "provider": "provider", "severity": "page"}


def a_file(*asked: dict, values: str = "ok x10 stalled x5", **more) -> TestFile:
    """Write a file with one test of the rule ``Errors``, three in a row, for ``chat``: one run each 30 s."""
    group = {
        "interval": "30s",
        "input_series": [{"series": "chat", "values": values}],
        "alert_rule_test": [{"alertname": "Errors", **one} for one in asked],
        **more.pop("group", {}),
    }
    return TestFile.model_validate({"alerts": {"rules": {"Errors": RULE}}, "tests": [group], **more})


def failing(file: TestFile) -> list[float]:
    """Return the times of the tests that fail."""
    return [failure.time for failure in run_tests(file, RulesUnderTest(file.alerts or alerts()))]


# ---- values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("ok slow", ["ok", "slow"]),
        ("ok x3", ["ok"] * 3),
        ("okx3 _x2 ok", ["ok", "ok", "ok", None, None, "ok"]),
        ("stalled failed:stalled failed(stalled)", ["failed stalled"] * 3),
        ("failed(rate_limited)x2", ["failed rate_limited"] * 2),
        ("failed_over:stream_cut", ["failed_over stream_cut"]),
        ("retried:stalled", ["ok"]),
        ("internal_error skipped:budget skipped:overlap", ["internal_error", "skipped budget", "skipped overlap"]),
        ("", []),
    ],
    ids=str,
)
def test_a_word_is_a_run(values, expected) -> None:
    """An outcome, a fault, a reason or ``_``, repeated as often in all as ``x`` says."""

    def spell(word) -> str | None:
        return word and " ".join(filter(None, [word.kind.value, word.fault and word.fault.value, word.reason]))

    assert expected == [
        spell(word) if word is None or not word.is_retried else word.kind.value for word in parse_values(values)
    ]


@pytest.mark.parametrize("kind", FaultKind)
def test_every_fault_is_a_word(kind) -> None:
    """And its run failed with that fault, in one attempt, blamed on whom it is always blamed on."""
    [word] = parse_values(kind.value)
    outcome = word.to_outcome(CHAT, 1, 60.0)
    assert (OutcomeKind.FAILED, kind, 1) == (outcome.kind, outcome.fault.kind, len(outcome.attempts))


def test_a_retried_run_is_ok_after_a_first_attempt_that_failed() -> None:
    """The run has no fault, its first attempt has."""
    [word] = parse_values("retried:rate_limited")
    outcome = word.to_outcome(CHAT, 0, 0.0)
    assert (OutcomeKind.OK, None) == (outcome.kind, outcome.fault)
    assert [FaultKind.RATE_LIMITED, None] == [one.fault and one.fault.kind for one in outcome.attempts]


def test_times_can_be_given() -> None:
    """They are what measures with a limit look at."""
    [word, _] = parse_values("slow(first_token=3s, max_gap=250ms,duration=1m)x2")
    outcome = word.to_outcome(CHAT, 0, 0.0)
    assert (3.0, 0.25, 60.0) == (outcome.time_to_first_token, outcome.max_gap, outcome.duration)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("ok stalld", "there is no outcome or fault 'stalld'; did you mean stalled?"),
        ("failed", "failed needs a fault, such as failed:stalled; known: invalid_request"),
        ("failed_over:ok", "failed_over needs a fault"),
        ("skipped", "write why it was skipped: skipped:budget, skipped:overlap"),
        ("ok:stalled", "'stalled' means nothing after ok; write ok alone"),
        ("x3", "'x3' follows nothing that it could repeat"),
        ("ok x2 x3", "'x3' follows nothing that it could repeat"),
        ("ok x0", "x0: a run is repeated 1 to 10000 times"),
        ("okx99999999999999999999", "x9999999999: a run is repeated"),
        (f"ok x{MAX_RUNS} ok", "has more than 10000 runs"),
        ("ok(first=3s)", "times are first_token=2s, max_gap=2s, duration=2s, each at most once"),
        ("ok(duration=1s,duration=2s)", "each at most once"),
        ("ok(duration=soon)", "duration is not a duration"),
        ("1 2 3", "'1' is no run"),
        ("ok(", "'ok(' is no run"),
        ("a" * 200_000, "is longer than 100000 characters"),
        (3, "must be text"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_run_is_refused(values, message) -> None:
    """The message names the word, and what would be right."""
    with pytest.raises(ValueError) as refused:
        parse_values(values)
    assert message in str(refused.value)


# ---- what is compared


def test_an_alert_fires_with_the_run_that_makes_it() -> None:
    """The first run is at 0: after ten good runs the third failure is at 6 m, and is seen at that very moment."""
    fires = {"exp_alerts": [{"exp_labels": LABELS}]}
    file = a_file({"eval_time": "359s"}, {"eval_time": "6m", **fires}, {"eval_time": "1h", **fires})
    assert [] == failing(file)


def test_a_failure_says_what_was_expected_and_what_there_was() -> None:
    """With the name of the test, the alert, and the time."""
    wrong = {**LABELS, "severity": "ticket"}
    file = a_file({"eval_time": "7m", "exp_alerts": [{"exp_labels": wrong}]}, group={"name": "outage"})
    [failure] = run_tests(file, RulesUnderTest(file.alerts))
    assert ("outage", "Errors", 420.0) == (failure.group, failure.alertname, failure.time)
    assert ([wrong], [LABELS]) == (
        [dict(one.labels) for one in failure.expected],
        [dict(one.labels) for one in failure.got],
    )


def test_failures_come_in_the_order_of_the_file() -> None:
    """Although the runs happen only once, in the order of time."""
    file = a_file({"eval_time": "8m"}, {"eval_time": "1m"}, {"eval_time": "7m"})
    assert [480.0, 420.0] == failing(file)


def test_annotations_are_compared_only_where_they_are_expected() -> None:
    """And then all of them, as they would be sent."""
    rule = {**RULE, "annotations": {"summary": "{canary}: {bad} of {total}", "why": "{faults}"}}
    said = {"summary": "chat: 3 of 3", "why": "stalled 3"}

    def fails(**expected) -> bool:
        alert = {"exp_labels": LABELS, **expected}
        return bool(failing(a_file({"eval_time": "6m", "exp_alerts": [alert]}, alerts={"rules": {"Errors": rule}})))

    assert [False, False, True, True] == [
        fails(),
        fails(exp_annotations=said),
        fails(exp_annotations={"summary": "chat: 3 of 3"}),
        fails(exp_annotations={}),
    ]


def test_each_of_several_alerts_is_expected() -> None:
    """Alerts of a name are compared as a whole, in any order."""
    series = [{"series": f'{name}{{tier="{name}1"}}', "values": "stalled x3"} for name in ("b", "a")]
    expected = [{"exp_labels": {**LABELS, "canary": name, "tier": f"{name}1"}} for name in ("a", "b")]
    group = {"input_series": series}
    assert [] == failing(a_file({"eval_time": "1m", "exp_alerts": expected}, group=group))
    assert [60.0] == failing(a_file({"eval_time": "1m", "exp_alerts": expected[:1]}, group=group))


def test_a_canary_that_falls_silent_is_told_by_no_data() -> None:
    """Three runs of 30 s, and 24 s and 5 s for the last of them, after the last one at 4 m 30 s."""
    expected = {"exp_alerts": [{"exp_labels": LABELS}]}
    file = a_file(
        {"eval_time": "388s", "alertname": "NoData"},
        {"eval_time": "389s", "alertname": "NoData", **expected},
        values="ok x10 _x20",
        evaluation_interval="1m",
    )
    assert [] == failing(file)


def test_without_an_interval_canaries_run_by_their_own_schedule() -> None:
    """Of a configuration: the third failure of one that runs each 30 s comes after a minute."""
    group = {"interval": None, "input_series": [{"series": "chat", "values": "stalled x3"}]}
    asked = [{"eval_time": "59s", "alertname": "Errors"}, {"eval_time": "1m", "alertname": "Errors"}]
    file = TestFile.model_validate({"rule_files": ["any.yaml"], "tests": [{**group, "alert_rule_test": asked}]})
    ground = RulesUnderTest(alerts(rules={"Errors": RULE}), "default", {"chat": CHAT})
    assert [60.0] == [failure.time for failure in run_tests(file, ground)]


@pytest.mark.parametrize("start", [1_800_000_000, "2027-01-15T08:00:00Z", "2027-01-15T09:00:00+01:00"], ids=str)
def test_the_clock_can_be_set(start) -> None:
    """For annotations with a time in them."""
    rule = {**RULE, "annotations": {"since": "{since}"}}
    expected = {"exp_labels": LABELS, "exp_annotations": {"since": "2027-01-15T08:05:00.000Z"}}
    file = a_file(
        {"eval_time": "6m", "exp_alerts": [expected]},
        alerts={"rules": {"Errors": rule}},
        group={"start_timestamp": start},
    )
    assert [] == failing(file)


# ---- what is refused


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"alerts": None}, (), "needs either rule_files, a list of configurations, or alerts"),
        ({"rule_files": ["a.yaml"]}, (), "needs either rule_files"),
        ({"tests": []}, ("tests",), "at least 1 item"),
        ({"group_eval_order": []}, ("group_eval_order",), "Extra inputs"),
        ({"evaluation_interval": "1ms"}, ("evaluation_interval",), "greater than or equal to 1"),
        ({"group": {"interval": None}}, ("tests", 0), "interval is required with written-out alerts"),
        ({"group": {"interval": "0s"}}, ("tests", 0, "interval"), "longer than zero"),
        ({"group": {"input_series": []}}, ("tests", 0, "input_series"), "at least 1 item"),
        ({"group": {"start_timestamp": "soon"}}, ("tests", 0, "start_timestamp"), "not a time"),
        ({"group": {"start_timestamp": -1}}, ("tests", 0, "start_timestamp"), "must be a time from 1970"),
        ({"group": {"promql_expr_test": []}}, ("tests", 0, "promql_expr_test"), "Extra inputs"),
        (
            {"group": {"input_series": [{"series": "{}", "values": "ok"}]}},
            ("tests", 0, "input_series", 0, "series"),
            "not a series",
        ),
        (
            {"group": {"input_series": [{"series": 'chat{canary="x"}', "values": "ok"}]}},
            ("tests", 0, "input_series", 0, "series"),
            'labels are name="value", each once, and not called alert, alertname, canary, instance',
        ),
        (
            {"group": {"input_series": [{"series": "chat", "values": "ok"}] * 2}},
            ("tests", 0, "input_series", 1, "series"),
            "chat has a series already",
        ),
        (
            {"group": {"input_series": [{"series": f"c{n}", "values": "ok x10000"} for n in range(11)]}},
            ("tests", 0, "input_series"),
            "has more than 100000 runs",
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_bad_file_is_refused_at_its_key(change, path, message) -> None:
    """Each problem has its place, and says what would be right."""
    with pytest.raises(ValidationError) as refused:
        a_file({"eval_time": "1m"}, **change)
    found = [(error["loc"], error["msg"]) for error in refused.value.errors()]
    assert path in [place for place, said in found if message in said]


def test_a_test_longer_than_a_month_is_refused() -> None:
    """And so is one that would tell the engine the time too often."""
    with pytest.raises(ValidationError, match="less than or equal to 2678400"):
        a_file({"eval_time": "32d"})
    with pytest.raises(ValidationError, match="is too short for a test of"):
        a_file({"eval_time": "30d"}, evaluation_interval="1s")


def test_what_a_test_names_must_be_there() -> None:
    """A rule or canary that nobody knows would make a test that cannot fail."""
    file = TestFile.model_validate(
        {
            "rule_files": ["any.yaml"],
            "tests": [
                {
                    "input_series": [
                        {"series": "chta", "values": "ok"},
                        {"series": 'chat{tier="x"}', "values": "ok"},
                    ],
                    "alert_rule_test": [{"eval_time": "1m", "alertname": "Erors"}],
                }
            ],
        }
    )
    ground = RulesUnderTest(alerts(rules={"Errors": RULE}), "default", {"chat": CHAT})
    found = [(misfit.path[2:], misfit.message.split(";")[0]) for misfit in reference_issues(file, ground)]
    assert [
        (("alert_rule_test", 0, "alertname"), "there is no rule 'Erors'"),
        (("input_series", 0, "series"), "there is no canary 'chta'"),
        (("input_series", 1, "series"), "the labels of chat stand in its configuration"),
    ] == found


def test_a_rule_that_could_never_fire_is_refused() -> None:
    """Its window holds too few runs at the interval of the test."""
    rule = {"detector": {"type": "ratio", "over": "1m", "min_samples": 5}}
    file = a_file({"eval_time": "1m"}, alerts={"rules": {"Errors": rule}})
    [misfit] = reference_issues(file, RulesUnderTest(file.alerts))
    assert ("alerts", "rules", "Errors", "detector", "over") == misfit.path
    assert "so it could never fire" in misfit.message
