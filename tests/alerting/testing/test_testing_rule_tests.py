"""Rule tests: the notation of runs, the comparison of alerts, and errors in a file."""

import pytest
from pydantic import ValidationError

from streamcanary.alerting.testing.rule_tests import RulesUnderTest, TestFile, reference_issues, run_tests
from streamcanary.alerting.testing.series_notation import MAX_RUNS, parse_values
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import OutcomeKind
from support.alerting.builders import CHAT, alerts

RULE = {"detector": {"type": "consecutive", "failures": 3}, "labels": {"severity": "page"}}
LABELS = {"canary": "chat", "target": "target", "provider": "provider", "severity": "page"}
UNLABELED = {"canary": "chat", "target": "target", "provider": "provider"}


def a_file(*tests: dict, values: str = "ok x10 stalled x5", **more) -> TestFile:
    """Return a file with runs of ``chat`` each 30 s and ``tests`` of ``Errors``, which fires after three failures."""
    group = {
        "interval": "30s",
        "input_series": [{"series": "chat", "values": values}],
        "alert_rule_test": [{"alertname": "Errors", **test} for test in tests],
        **more.pop("group", {}),
    }
    return TestFile.model_validate({"alerts": {"rules": {"Errors": RULE}}, "tests": [group], **more})


def failing(file: TestFile) -> list[float]:
    """Return the times in seconds of the failing tests."""
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
def test_each_word_is_a_run(values, expected) -> None:
    """A word is an outcome, a fault, a skip reason or ``_``, and ``xN`` is the total number of runs."""

    def describe(word) -> str | None:
        return word and " ".join(filter(None, [word.kind.value, word.fault and word.fault.value, word.reason]))

    assert expected == [
        describe(word) if word is None or not word.is_retried else word.kind.value for word in parse_values(values)
    ]


@pytest.mark.parametrize("kind", FaultKind)
def test_every_fault_kind_is_a_word(kind) -> None:
    """The run of a fault kind failed with that fault in one attempt."""
    [word] = parse_values(kind.value)
    outcome = word.to_outcome(CHAT, 1, 60.0)
    assert (OutcomeKind.FAILED, kind, 1) == (outcome.kind, outcome.fault.kind, len(outcome.attempts))


def test_a_retried_run_is_ok_after_a_failed_first_attempt() -> None:
    """The first attempt has a fault, and the run has none."""
    [word] = parse_values("retried:rate_limited")
    outcome = word.to_outcome(CHAT, 0, 0.0)
    assert (OutcomeKind.OK, None) == (outcome.kind, outcome.fault)
    assert [FaultKind.RATE_LIMITED, None] == [one.fault and one.fault.kind for one in outcome.attempts]


def test_times_in_brackets_are_set_on_the_outcome() -> None:
    """First token, maximum gap and duration in brackets are those of the outcome."""
    [word, _] = parse_values("slow(first_token=3s, max_gap=250ms,duration=1m)x2")
    outcome = word.to_outcome(CHAT, 0, 0.0)
    assert (3.0, 0.25, 60.0) == (outcome.time_to_first_token, outcome.max_gap, outcome.duration)


def test_remaining_time_of_a_certificate_counts_from_the_run() -> None:
    """The expiry of a certificate in brackets is the time that is left at the end of the run."""
    [word, other] = parse_values("ok(certificate_expiry=10d,duration=2s) ok")
    outcomes = [one.to_outcome(CHAT, 0, 100.0) for one in (word, other) if one is not None]
    assert [100.0 + 2.0 + 864_000.0, None] == [outcome.certificate_expiry for outcome in outcomes]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("ok stalld", "unknown outcome or fault 'stalld'; did you mean stalled?"),
        ("failed", "failed needs a fault, such as failed:stalled; known: invalid_request"),
        ("failed_over:ok", "failed_over needs a fault"),
        ("skipped", "add the reason: skipped:budget, skipped:overlap"),
        ("ok:stalled", "ok does not take 'stalled'; write only ok"),
        ("x3", "'x3' has no run before it to repeat"),
        ("ok x2 x3", "'x3' has no run before it to repeat"),
        ("ok x0", "x0: the count of runs must be 1 to 10000"),
        ("okx99999999999999999999", "x9999999999: the count of runs must be"),
        (f"ok x{MAX_RUNS} ok", "has more than 10000 runs"),
        ("ok(first=3s)", "a run can have first_token=2s, max_gap=2s, duration=2s, certificate_expiry=10d, "),
        ("ok(duration=1s,duration=2s)", "each at most once"),
        ("ok(duration=soon)", "duration is not a duration"),
        ("1 2 3", "'1' is not a run"),
        ("ok(", "'ok(' is not a run"),
        ("a" * 200_000, "is longer than 100000 characters"),
        (3, "must be text"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_invalid_values_are_rejected(values, message) -> None:
    """The message names the word and a valid one."""
    with pytest.raises(ValueError) as refused:
        parse_values(values)
    assert message in str(refused.value)


# ---- comparison


def test_an_alert_fires_at_the_time_of_its_run() -> None:
    """After ten good runs from 0 s on, the third failure at 6 min fires at that time."""
    fires = {"exp_alerts": [{"exp_labels": LABELS}]}
    file = a_file({"eval_time": "359s"}, {"eval_time": "6m", **fires}, {"eval_time": "1h", **fires})
    assert [] == failing(file)


def test_a_failure_has_the_expected_and_the_firing_alerts() -> None:
    """A failure has the group, the alert name, the time, and the labels of both sides."""
    wrong = {**LABELS, "severity": "ticket"}
    file = a_file({"eval_time": "7m", "exp_alerts": [{"exp_labels": wrong}]}, group={"name": "outage"})
    [failure] = run_tests(file, RulesUnderTest(file.alerts))
    assert ("outage", "Errors", 420.0) == (failure.group, failure.alertname, failure.time)
    assert ([wrong], [LABELS]) == (
        [dict(one.labels) for one in failure.expected],
        [dict(one.labels) for one in failure.got],
    )


def test_failures_are_in_the_order_of_the_file() -> None:
    """Failures keep the order of the file, although tests are evaluated by time."""
    file = a_file({"eval_time": "8m"}, {"eval_time": "1m"}, {"eval_time": "7m"})
    assert [480.0, 420.0] == failing(file)


def test_annotations_are_compared_only_where_they_are_expected() -> None:
    """Expected annotations must equal all rendered annotations of the alert."""
    rule = {**RULE, "annotations": {"summary": "{canary}: {bad} of {total}", "why": "{faults}"}}
    rendered = {"summary": "chat: 3 of 3", "why": "stalled 3"}

    def fails(**expected) -> bool:
        alert = {"exp_labels": LABELS, **expected}
        return bool(failing(a_file({"eval_time": "6m", "exp_alerts": [alert]}, alerts={"rules": {"Errors": rule}})))

    assert [False, False, True, True] == [
        fails(),
        fails(exp_annotations=rendered),
        fails(exp_annotations={"summary": "chat: 3 of 3"}),
        fails(exp_annotations={}),
    ]


def test_all_alerts_of_a_rule_are_compared() -> None:
    """The alerts of one rule are compared as a set, in any order."""
    series = [{"series": f'{name}{{tier="{name}1"}}', "values": "stalled x3"} for name in ("b", "a")]
    expected = [{"exp_labels": {**LABELS, "canary": name, "tier": f"{name}1"}} for name in ("a", "b")]
    group = {"input_series": series}
    assert [] == failing(a_file({"eval_time": "1m", "exp_alerts": expected}, group=group))
    assert [60.0] == failing(a_file({"eval_time": "1m", "exp_alerts": expected[:1]}, group=group))


def test_missing_runs_fire_no_data() -> None:
    """``NoData`` fires three intervals of 30 s, a timeout of 24 s and 5 s after the last run at 4 min 30 s."""
    expected = {"exp_alerts": [{"exp_labels": LABELS}]}
    file = a_file(
        {"eval_time": "388s", "alertname": "NoData"},
        {"eval_time": "389s", "alertname": "NoData", **expected},
        values="ok x10 _x20",
        evaluation_interval="1m",
    )
    assert [] == failing(file)


def test_without_an_interval_canaries_follow_their_schedule() -> None:
    """The third failure of a canary that is configured for each 30 s is after one minute."""
    group = {"interval": None, "input_series": [{"series": "chat", "values": "stalled x3"}]}
    tests = [{"eval_time": "59s", "alertname": "Errors"}, {"eval_time": "1m", "alertname": "Errors"}]
    file = TestFile.model_validate({"rule_files": ["any.yaml"], "tests": [{**group, "alert_rule_test": tests}]})
    rules = RulesUnderTest(alerts(rules={"Errors": RULE}), "default", {"chat": CHAT})
    assert [60.0] == [failure.time for failure in run_tests(file, rules)]


@pytest.mark.parametrize("start", [1_800_000_000, "2027-01-15T08:00:00Z", "2027-01-15T09:00:00+01:00"], ids=str)
def test_the_start_time_can_be_set(start) -> None:
    """Annotations with a time use ``start_timestamp``."""
    rule = {**RULE, "annotations": {"since": "{since}"}}
    expected = {"exp_labels": LABELS, "exp_annotations": {"since": "2027-01-15T08:05:00.000Z"}}
    file = a_file(
        {"eval_time": "6m", "exp_alerts": [expected]},
        alerts={"rules": {"Errors": rule}},
        group={"start_timestamp": start},
    )
    assert [] == failing(file)


def test_a_pooled_alert_is_expected_with_its_labels() -> None:
    """A rule that pools the series of a target fires with the labels that they share, and ``scope``."""
    series = [{"series": f'{name}{{target="t", model="m"}}', "values": "ok x10 stalled x3"} for name in ("a", "b")]
    pooled = {"target": "t", "provider": "provider", "model": "m", "scope": "target", "severity": "page"}
    summary = "target t: 2 of 2 canaries: a (2 of 2 runs), b (1 of 1 runs)"
    rule = {**RULE, "per": "target", "annotations": {"summary": "{subject}: {members} of 2 canaries: {failing}"}}
    file = a_file(
        {"eval_time": "5m", "exp_alerts": []},
        {"eval_time": "5m30s", "exp_alerts": [{"exp_labels": pooled, "exp_annotations": {"summary": summary}}]},
        alerts={"rules": {"Errors": rule}},
        group={"input_series": series},
    )
    assert [] == failing(file)


# ---- errors


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"alerts": None}, (), "needs either rule_files, a list of configurations, or alerts"),
        ({"rule_files": ["a.yaml"]}, (), "needs either rule_files"),
        ({"tests": []}, ("tests",), "at least 1 item"),
        ({"group_eval_order": []}, ("group_eval_order",), "Extra inputs"),
        ({"evaluation_interval": "1ms"}, ("evaluation_interval",), "greater than or equal to 1"),
        ({"group": {"interval": None}}, ("tests", 0), "interval is required with inline alerts"),
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
            'invalid labels: write name="value", each name once, and none of alert, alertname, canary, instance',
        ),
        (
            {"group": {"input_series": [{"series": "chat", "values": "ok"}] * 2}},
            ("tests", 0, "input_series", 1, "series"),
            "chat already has a series",
        ),
        (
            {"group": {"input_series": [{"series": f"c{n}", "values": "ok x10000"} for n in range(11)]}},
            ("tests", 0, "input_series"),
            "has more than 100000 runs",
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_an_invalid_file_is_rejected_with_the_key(change, path, message) -> None:
    """Each error has the path of its key and a message with the fix."""
    with pytest.raises(ValidationError) as refused:
        a_file({"eval_time": "1m"}, **change)
    found = [(error["loc"], error["msg"]) for error in refused.value.errors()]
    assert path in [place for place, text in found if message in text]


def test_a_test_longer_than_a_month_is_rejected() -> None:
    """A test over 31 days, or with too many ticks, is rejected."""
    with pytest.raises(ValidationError, match="less than or equal to 2678400"):
        a_file({"eval_time": "32d"})
    with pytest.raises(ValidationError, match="is too short for a test of"):
        a_file({"eval_time": "30d"}, evaluation_interval="1s")


def test_unknown_rules_and_canaries_are_rejected() -> None:
    """A reference to an unknown rule or canary is an error, because such a test could not fail."""
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
    rules = RulesUnderTest(alerts(rules={"Errors": RULE}), "default", {"chat": CHAT})
    found = [(issue.path[2:], issue.message.split(";")[0]) for issue in reference_issues(file, rules)]
    assert [
        (("alert_rule_test", 0, "alertname"), "unknown rule 'Erors'"),
        (("input_series", 0, "series"), "unknown canary 'chta'"),
        (("input_series", 1, "series"), "the labels of chat are in its configuration"),
    ] == found


def test_a_scope_that_no_series_has_is_rejected() -> None:
    """A rule that pools by a label that no series has is an error, as in a configuration."""
    file = a_file({"eval_time": "1m"}, alerts={"rules": {"Errors": {**RULE, "per": "tier"}}})
    [issue] = reference_issues(file, RulesUnderTest(file.alerts))
    assert (("alerts", "rules", "Errors", "per"), True) == (issue.path, "has the label tier" in issue.message)


def test_a_rule_that_could_never_fire_is_rejected() -> None:
    """A window with too few runs at the interval of the test is an error."""
    rule = {"detector": {"type": "ratio", "over": "1m", "min_samples": 5}}
    file = a_file({"eval_time": "1m"}, alerts={"rules": {"Errors": rule}})
    [issue] = reference_issues(file, RulesUnderTest(file.alerts))
    assert ("alerts", "rules", "Errors", "detector", "over") == issue.path
    assert "so it could never fire" in issue.message


def test_a_rule_that_learns_does_so_after_a_day() -> None:
    """A test of ``shift`` has a day of usual runs first; ten that are three times as slow then fire it."""
    rules = {"Slower": {"measure": "first_token", "detector": {"type": "shift"}}}
    group = {
        "interval": "1m",
        "input_series": [
            {
                "series": "chat",
                "values": "ok(first_token=500ms) x1445 ok(first_token=1500ms) x10 ok(first_token=500ms) x60",
            }
        ],
        "alert_rule_test": [
            {"alertname": "Slower", "eval_time": "24h5m"},
            {"alertname": "Slower", "eval_time": "24h14m", "exp_alerts": [{"exp_labels": UNLABELED}]},
            {"alertname": "Slower", "eval_time": "25h10m"},
        ],
    }
    file = TestFile.model_validate({"alerts": {"rules": rules}, "tests": [group]})
    assert [] == [*run_tests(file, RulesUnderTest(file.alerts or alerts()))]
