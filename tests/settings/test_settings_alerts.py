"""Config errors and warnings of rules, receivers and routes; the complete messages."""

from pathlib import Path

import pytest

from support.alerting.config_yaml import (
    RECEIVERS_YAML,
    config_errors,
    config_warnings,
    load_settings,
    rule_yaml,
)

ONLY = "has no effect with measure slow, only with errors and first_attempts; remove it"
BRACES = "{{ and }} are plain braces here; a field is written {canary}, with one brace on each side"
TITLE = 'is empty, but it is the title of notifications; write one such as "{canary}: {bad} of {total} runs failed"'
ADDRESS = "must be an http:// or https:// address, such as https://example.com/runbooks/{alert}"
OWN_NAME = "use another name for a rule with another"
EXPLAINS = f"{OWN_NAME} one: TargetRejected inhibits other alerts"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        # ---- detectors, whose type may be the name of a key
        (
            "{measure: errors, detector: {type: shift}}",
            [
                (
                    ":24: alerts.rules.X.measure: errors has no usual value to compare with: shift works with "
                    "first_token, max_gap, duration, tokens_per_second"
                )
            ],
        ),
        (
            "{measure: duration, limit: 2s, detector: {type: shift}}",
            [":41: alerts.rules.X.limit: has no effect with shift, which learns a limit from history; remove it"],
        ),
        (
            "{measure: duration, detector: {type: shift, worse: 2}}",
            [":65: alerts.rules.X.detector.worse: not a factor: write one such as 2x or 1.5x"],
        ),
        (
            "{measure: duration, detector: {type: shift, worse: 1.01x}}",
            [":65: alerts.rules.X.detector.worse: must be from 1.1x to 100x"],
        ),
        ("{detector: {type: spike, for: 5m}}", [":39: alerts.rules.X.detector.for: unknown key; only ratio takes for"]),
        (
            "{detector: {type: spike, false_page: 1 per 365d}}",
            [":39: alerts.rules.X.detector.false_page: unknown key; did you mean false_pages?"],
        ),
        (
            "{detector: {type: spike, false_pages: often}}",
            [
                (
                    ":52: alerts.rules.X.detector.false_pages: not a rate: write a number and a time, such as "
                    "1 per 365d or 2 per month"
                )
            ],
        ),
        (
            "{detector: {type: spike, normal: 0%}}",
            [":47: alerts.rules.X.detector.normal: must be more than 0% and at most 100%"],
        ),
        (
            "{detector: {type: spike, normal: abc}}",
            [
                (
                    ":47: alerts.rules.X.detector.normal: not a fraction: write a percentage such as 50%, or a number "
                    "such as 0.5"
                )
            ],
        ),
        (
            "{detector: {type: spike, normal: 2, spike: 30}}",
            [
                ":47: alerts.rules.X.detector.normal: must be more than 0% and at most 100%; did you mean 2%?",
                ":57: alerts.rules.X.detector.spike: must be more than 0% and at most 100%; did you mean 30%?",
            ],
        ),
        (
            "{detector: {type: spike, normal: 30%, spike: 2%}}",
            [
                ":59: alerts.rules.X.detector.spike: 2% is not more than normal (30%); write a higher rate",
            ],
        ),
        (
            "{detector: {type: burn_rate, objective: 99%, min_samples: 5, failures: 3, threshold: 5%}}",
            [
                ":75: alerts.rules.X.detector.failures: unknown key; only consecutive takes failures",
                ":88: alerts.rules.X.detector.threshold: unknown key; only ratio takes threshold",
            ],
        ),
        (
            "{detector: {type: no_data, min_samples: 5}}",
            [":41: alerts.rules.X.detector.min_samples: unknown key; only ratio and burn_rate take min_samples"],
        ),
        ("{for: 5m}", [":15: alerts.rules.X.for: unknown key; did you mean detector.for?"]),
        # ---- windows
        (
            "{detector: {type: ratio, over: 99999999 runs}}",
            [":45: alerts.rules.X.detector.over: must be 1 to 1000 runs"],
        ),
        (
            "{detector: {type: ratio, over: 20}}",
            [":45: alerts.rules.X.detector.over: unit is missing; write 20 runs or 20s"],
        ),
        (
            "{detector: {type: ratio, over: '20'}}",
            [":45: alerts.rules.X.detector.over: unit is missing; write 20 runs or 20s"],
        ),
        # ---- rules that can never fire, and settings without effect
        (
            "{measure: slow, match: ['tier=\"prod\"']}",
            [
                (
                    ":24: alerts.rules.X.measure: a: no slo, so no run is ever slow; add one, such as "
                    "slo: {first_token: 2s}"
                )
            ],
        ),
        (
            "{measure: duration, limit: 24s}",
            [
                (
                    ":41: alerts.rules.X.limit: 24s is never exceeded: the timeouts end runs of a and b after 24s; "
                    "write less than that"
                )
            ],
        ),
        (
            "{measure: max_gap, limit: 20s}",
            [
                (
                    ":40: alerts.rules.X.limit: 20s is never exceeded: the timeouts end runs of a and b after 15s; "
                    "write less than that"
                )
            ],
        ),
        # ---- limits of the measures that are no times
        (
            "{measure: ratelimit_headroom, limit: 10}",
            [":51: alerts.rules.X.limit: must be more than 0% and at most 100%; did you mean 10%?"],
        ),
        (
            "{measure: ratelimit_headroom, limit: 2s}",
            [":51: alerts.rules.X.limit: not a fraction: write a percentage such as 50%, or a number such as 0.5"],
        ),
        (
            "{measure: ratelimit_headroom}",
            [":11: alerts.rules.X: measure ratelimit_headroom needs a limit, such as limit: 10%"],
        ),
        (
            "{measure: tokens_per_second, limit: fast}",
            [":50: alerts.rules.X.limit: not a number of tokens a second: write one such as 20"],
        ),
        (
            "{measure: tokens_per_second, limit: 10000}",
            [":50: alerts.rules.X.limit: must be more than 0 and less than 10000 tokens a second"],
        ),
        (
            "{measure: tokens_per_second}",
            [":11: alerts.rules.X: measure tokens_per_second needs a limit, such as limit: 20"],
        ),
        (
            "{measure: model_changes, limit: 10%}",
            [":11: alerts.rules.X: limit has no effect with measure model_changes; remove it"],
        ),
        (
            "{measure: tokens_per_second, limit: 20}",
            [
                (
                    ":24: alerts.rules.X.measure: a and b: no output speed can be measured, because the default prompt "
                    "asks for a single word; ask for a longer answer"
                )
            ],
        ),
        ("{measure: slow, blame: [network]}", [f":30: alerts.rules.X.blame: {ONLY}"]),
        (
            "{renamed_from: X}",
            [(":29: alerts.rules.X.renamed_from: is the current name of the rule; set its former name, or remove it")],
        ),
        (
            "{renamed_from: Y}, Y: {}",
            [
                (
                    ":29: alerts.rules.X.renamed_from: is the name of another rule; alerts are identified by it, "
                    "so it must be unique"
                )
            ],
        ),
        # ---- templates
        (
            '{annotations: {summary: "{{ $labels.canary }} fails"}}',
            [f":38: alerts.rules.X.annotations.summary: {BRACES}"],
        ),
        ('{annotations: {summary: "{{canary}} fails"}}', [f":38: alerts.rules.X.annotations.summary: {BRACES}"]),
        (
            '{annotations: {note: "a\\x07b"}}',
            [
                (
                    ":35: alerts.rules.X.annotations.note: has a control character in it; only line breaks and tabs "
                    "may stand there"
                )
            ],
        ),
        ('{annotations: {summary: " "}}', [f":38: alerts.rules.X.annotations.summary: {TITLE}"]),
        ("{annotations: {runbook_url: wiki/x}}", [f":42: alerts.rules.X.annotations.runbook_url: {ADDRESS}"]),
        ("{annotations: {runbook_url: 'ftp://x/y'}}", [f":42: alerts.rules.X.annotations.runbook_url: {ADDRESS}"]),
        # ---- matchers
        (
            "{match: ['teir=\"prod\"']}",
            [":23: alerts.rules.X.match[0]: matches no canary: there is no label teir; did you mean tier?"],
        ),
        (
            "{match: ['canary=\"a\"', 'team=\"x\"', 'tier=~\"p\"']}",
            [
                (
                    ":37: alerts.rules.X.match[1]: matches no canary: there is no label team; known labels: canary, "
                    "provider, target and tier"
                ),
                ":49: alerts.rules.X.match[2]: matches no canary: tier is prod or test",
            ],
        ),
        (
            "{match: ['canary=\"a\"', 'tier=\"test\"']}",
            [
                (
                    ":15: alerts.rules.X.match: matches no canary: each matcher matches some, but no canary matches "
                    "all of them"
                )
            ],
        ),
        (
            "{match: ['tier=~\"(?=prod).*\"']}",
            [
                (
                    ":23: alerts.rules.X.match[0]: the regular expression of matcher 'tier=~\"(?=prod).*\"' is not "
                    "valid: invalid perl operator at character 1: (?=prod).*; lookaheads are not supported"
                )
            ],
        ),
        # ---- values of another type
        ('{enabled: "no"}', [":24: alerts.rules.X.enabled: must be true or false, not text"]),
        ("{enabled: 1}", [":24: alerts.rules.X.enabled: must be true or false, not a number"]),
        (
            "{detector: {type: consecutive, failures: true}}",
            [":55: alerts.rules.X.detector.failures: must be a number, not true or false"],
        ),
        (
            '{detector: {type: consecutive, failures: "3"}}',
            [":55: alerts.rules.X.detector.failures: must be a number, not text"],
        ),
    ],
)
def test_an_error_in_a_rule_is_reported_at_its_key(tmp_path: Path, written: str, expected: list[str]) -> None:
    """A config error in a rule has line, column, key, cause and remedy."""
    assert [f"6{line}" for line in expected] == config_errors(tmp_path, rule_yaml(written) + RECEIVERS_YAML)


@pytest.mark.parametrize(
    "text",
    [
        '{annotations: {note: "{{{{ .Labels }}}} {{\\"a\\": 1}} {canary}\\n\\tmore"}}',
        "{annotations: {runbook_url: 'https://example.com/{alert}', description: ''}}",
        "{detector: {type: ratio, over: 20 runs}}",
        "{detector: {type: ratio, over: 20m, for: 90}}",
        "{measure: max_gap, limit: 14s}",
    ],
)
def test_valid_rules_have_no_warning(tmp_path: Path, text: str) -> None:
    """Escaped braces, line breaks, fields in a URL and windows in all notations are valid."""
    assert () == load_settings(tmp_path, rule_yaml(text) + RECEIVERS_YAML).warnings


# ---- built-in rules


@pytest.mark.parametrize("name", ["NoDta", "nodata", "No-Data", "NODATA"])
def test_a_misspelt_built_in_rule_is_an_error(tmp_path: Path, name: str) -> None:
    """A rule that is similar to a built-in one and has no detector is an error, not a new rule."""
    message = "there is no built-in rule of this name; did you mean NoData?"
    for text in ("{labels: {severity: ticket}}", "{enabled: false}"):
        assert [f"6:11: alerts.rules.{name}: {message}"] == config_errors(
            tmp_path, rule_yaml(text, name) + RECEIVERS_YAML
        )


def test_a_new_rule_with_a_name_similar_to_a_built_in_rule_is_a_warning(tmp_path: Path) -> None:
    """A complete rule whose name is similar to a built-in one is a warning; a longer name is not."""
    text = "  rules: {ReceiverFailed: {measure: first_attempts}, NoDataEurope: {detector: {type: no_data}}}\n"
    assert [
        (
            "6:11: rules.ReceiverFailed: is a new rule, not the built-in ReceiverFailing; did you mean "
            "ReceiverFailing? If not, rename it"
        )
    ] == config_warnings(tmp_path, text + RECEIVERS_YAML)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            "NoData: {detector: {type: consecutive}}",
            (
                "20: alerts.rules.NoData.detector: the built-in NoData accepts only no_data, such as "
                f"{{type: no_data, runs: 5}}; {OWN_NAME} detector"
            ),
        ),
        (
            "NoData: {measure: slow}",
            "29: alerts.rules.NoData.measure: has no effect on the built-in NoData; remove it",
        ),
        (
            "ModelChanged: {labels: {severity: page}}",
            "11: alerts.rules.ModelChanged: has no effect, because this rule is off by default; add enabled: true",
        ),
        (
            "ModelChanged: {enabled: true, measure: slow}",
            (
                "50: alerts.rules.ModelChanged.measure: cannot be changed for the built-in ModelChanged; "
                "use another name for a rule with another one"
            ),
        ),
        (
            "ModelChanged: {enabled: true, detector: {type: no_data}}",
            (
                "41: alerts.rules.ModelChanged.detector: must evaluate samples, so it cannot be no_data; "
                "use NoData for missing runs"
            ),
        ),
        (
            "TargetRejected: {detector: {type: no_data}}",
            f"28: alerts.rules.TargetRejected.detector: must evaluate samples, so it cannot be no_data; {EXPLAINS}",
        ),
        (
            "TargetRejected: {blame: [network]}",
            f"28: alerts.rules.TargetRejected.blame: is [config] for the built-in TargetRejected; {EXPLAINS}",
        ),
        (
            "TargetRejected: {measure: first_attempts}",
            f"37: alerts.rules.TargetRejected.measure: is errors for the built-in TargetRejected; {EXPLAINS}",
        ),
    ],
)
def test_measure_and_blame_of_a_built_in_rule_cannot_be_changed(tmp_path: Path, written: str, expected: str) -> None:
    """Another measure, blame or detector type is an error: the rule would inhibit alerts that it does not explain."""
    assert [f"6:{expected}"] == config_errors(tmp_path, f"  rules: {{{written}}}\n{RECEIVERS_YAML}")


def test_the_detector_of_a_built_in_rule_can_be_changed(tmp_path: Path) -> None:
    """The parameters of the detector can be set, and the other defaults repeated."""
    text = (
        "  rules:\n"
        "    NoData: {detector: {type: no_data, runs: 10}}\n"
        "    TargetRejected: {measure: errors, blame: [config], detector: {type: consecutive, failures: 5}}\n"
    )
    assert () == load_settings(tmp_path, text + RECEIVERS_YAML).warnings


def test_a_missing_key_is_reported_with_an_example(tmp_path: Path) -> None:
    """A missing key is an error with an example, if the model has one."""
    assert [
        "7:17: alerts.maintenance.m.cron: is required, and missing; write it like cron: 0 17 * * fri",
        "7:17: alerts.maintenance.m.for: is required, and missing; write it like for: 30m",
        "7:17: alerts.maintenance.m.match: is required, and missing; write it like match: ['tier=\"prod\"']",
    ] == config_errors(tmp_path, f"{RECEIVERS_YAML}  maintenance: {{m: {{timezone: UTC}}}}\n")


# ---- certificate files


# ---- types of values
