"""The verb ``rules`` with ``--fleet`` about vantage points: its output, its notes, and what it refuses."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from streamcanary.cli.main import main
from support.programs.daemon import write_config

FLEET = {"fleet": {"replicas": 100, "member": "pod-a"}}
REGION = {"region": "eu"}


def rules(
    folder: Path, capfd: pytest.CaptureFixture[str], *arguments: str, every: str = "30s", **sections: Any
) -> tuple[int, str, str]:
    """Run the verb with ``--fleet``; return the exit code, stdout and stderr."""
    config = {
        "targets": {"sim": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}},
        "canaries": {
            name: {"target": "sim", "model": "m", "every": interval}
            for name, interval in zip(("chat", "embed"), every.split(), strict=False)
        },
        **sections,
    }
    code = main(["rules", "-c", str(write_config(folder, config)), "--fleet", *arguments])
    output = capfd.readouterr()
    return code, output.out, output.err


def alerts(text: str) -> list[tuple[str, str]]:
    """Return the names and severities of the alerts of a rule file."""
    [group] = YAML(typ="safe").load(text)["groups"]
    return [(rule["alert"], rule["labels"]["severity"]) for rule in group["rules"] if "alert" in rule]


VANTAGE_ALERTS = [
    ("ProviderDown", "page"),
    ("VantagePointFailing", "ticket"),
    ("VantagePointSilent", "ticket"),
    ("VantagePointsMissing", "page"),
    ("CanaryVantagePointsMissing", "ticket"),
]


def test_a_configuration_with_a_region_has_rules_about_regions(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """No option is needed; two regions must fail."""
    code, out, err = rules(tmp_path, capfd, **REGION)
    assert (0, VANTAGE_ALERTS, "") == (code, alerts(out), err)
    assert "provider, job, namespace) (vantage:streamcanary_canary:failing" in out
    assert 'region!=""' in out


@pytest.mark.parametrize(
    "arguments",
    [["--vantage", "region"], ["--at-least", "2"], ["--of", "3"], ["--ignoring", "namespace"]],
    ids=" ".join,
)
def test_an_option_about_vantage_points_selects_their_rules(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """So it does with a fleet, whose members in a region are one vantage point together."""
    code, out, _ = rules(tmp_path, capfd, *arguments, **REGION, **FLEET)
    assert (0, "ProviderDown") == (code, alerts(out)[0][0])


def test_a_fleet_has_the_rules_about_its_members(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Also with a region; a note says how to get the others."""
    code, out, err = rules(tmp_path, capfd, **REGION, **FLEET)
    assert (0, "FleetFailing") == (code, alerts(out)[0][0])
    assert (
        "streamcanary: these rules count the members of all regions together; --by region divides them, and --vantage "
        "region prints those about regions\n"
    ) == err
    assert "" == rules(tmp_path, capfd, "--by", "region", **REGION, **FLEET)[2]


def test_the_number_that_must_fail_and_the_number_of_all_are_options(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With ``--of``, a further ticket says that some are missing."""
    code, out, _ = rules(tmp_path, capfd, "--at-least", "3", "--of", "5", **REGION)
    assert (0, 6) == (code, len(alerts(out)))
    assert True is (">= 3" in out and ">= 3 < 5" in out and "of 5 vantage points have metrics" in out)


def test_the_other_options_are_in_the_expressions(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Labels that are ignored, labels that divide, matchers and the threshold."""
    options = ("--ignoring", "namespace", "--by", "tier", "--match", 'cluster=~"a|b"', "--threshold", "30%")
    _, out, _ = rules(tmp_path, capfd, "--vantage", "zone", *options, **REGION)
    assert True is (
        "sum by (canary, target, provider, job, tier) (" in out
        and 'cluster=~"a|b", zone!=""' in out
        and ">= bool 0.3 - 1e-9" in out
    )


def windows(text: str) -> set[str]:
    """Return the windows in which a rule file counts runs."""
    return set(re.findall(r"streamcanary_seen_runs:increase(\w+)", text))


def test_the_windows_are_those_of_the_intervals(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A canary that runs every ten minutes needs more than an hour; a fleet runs as often as all members together."""
    cases = {"1s": {"5m"}, "1m": {"5m"}, "61s": {"10m"}, "30s 10m": {"5m", "50m"}, "4h48m": {"1d"}}
    assert cases == {every: windows(rules(tmp_path, capfd, every=every, **REGION)[1]) for every in cases}
    assert {"5m"} == windows(rules(tmp_path, capfd, "--vantage", "region", **REGION, **FLEET)[1])


def test_canaries_that_run_too_seldom_are_noted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """They are left out; if there is no other, nothing is printed."""
    code, _, err = rules(tmp_path, capfd, every="30s 6h", **REGION)
    assert (0, "streamcanary: canary embed is not evaluated: it runs less often than every 4h48m\n") == (code, err)
    code, out, err = rules(tmp_path, capfd, every="6h 12h", **REGION)
    assert (2, "") == (code, out)
    assert (
        "streamcanary rules: --fleet: no canary runs often enough to compare vantage points; every must be at most "
        "4h48m\n"
    ) == err


@pytest.mark.parametrize(
    ("sections", "arguments", "expected"),
    [
        ({}, ["--vantage", "region"], "the configuration has no region: Prometheus must add the label region to each"),
        (
            {**REGION, "telemetry": {"otlp": {"endpoint": "http://127.0.0.1:4318"}, "prometheus": False}},
            [],
            "over OTLP the region is the attribute cloud.region of the resource: promote it in Prometheus, and use",
        ),
    ],
    ids=["no region", "otlp"],
)
def test_a_label_that_the_metrics_may_not_have_is_noted(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    sections: dict[str, Any],
    arguments: list[str],
    expected: str,
) -> None:
    """The rules are printed: Prometheus may add the label."""
    code, out, err = rules(tmp_path, capfd, *arguments, **sections)
    assert (0, "ProviderDown") == (code, alerts(out)[0][0])
    assert err.startswith(f"streamcanary: {expected}"), err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--vantage", ""], "--vantage: '' is not the name of a label; write letters, digits and _, such as region"),
        (["--vantage", "cloud.region"], "--vantage: 'cloud.region' is not the name of a label"),
        (["--vantage", "__name__"], "--vantage: '__name__' is not the name of a label"),
        (["--vantage", "1st"], "--vantage: '1st' is not the name of a label"),
        (["--vantage", "region\n"], "--vantage: 'region\\n' is not the name of a label"),
        (["--vantage", "canary"], "--vantage: canary does not say from where a canary runs; write a label such as"),
        (["--vantage", "severity"], "--vantage: severity does not say from where"),
        (["--by", "region"], "--by: region is the label of the vantage points; remove it, or write another --vantage"),
        (["--at-least", "0"], "--at-least: '0' is not a whole number from 1 to 1000"),
        (["--at-least", "-1"], "--at-least: '-1' is not a whole number"),
        (["--at-least", "two"], "--at-least: 'two' is not a whole number"),
        (["--at-least", "2.5"], "--at-least: '2.5' is not a whole number"),
        (["--at-least", "٣"], "--at-least: '٣' is not a whole number"),
        (["--at-least", "9" * 30], f"--at-least: '{'9' * 30}' is not a whole number"),
        (["--of", "1001"], "--of: '1001' is not a whole number from 1 to 1000"),
        (
            ["--at-least", "4", "--of", "3"],
            "--at-least: 4 of 3 vantage points can never fail; write --at-least 1 to 3, or a greater --of",
        ),
        (
            ["--of", "1"],
            "--at-least: 2 of 1 vantage points can never fail (the default of --at-least is 2); write --at-least 1",
        ),
        (["--ignoring", "pod"], "--ignoring: 'pod' is not one of job, namespace"),
        (["--ignoring", "job", "--by", "job"], "--ignoring: job is an argument of --by, too; remove one of them"),
        (["--threshold", "0%"], "--threshold: must be more than 0%"),
        (["--match", "region"], "not a matcher: 'region'; write name=\"value\""),
    ],
)
def test_invalid_options(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    """The exit code is 2, nothing is printed on stdout, and the message says what is wrong, and what would be right."""
    arguments = [f"{flag}={value}" for flag, value in zip(arguments[::2], arguments[1::2], strict=True)]
    code, out, err = rules(tmp_path, capfd, *arguments, **REGION)
    assert (2, "") == (code, out)
    assert err.startswith(f"streamcanary rules: {expected}"), err


def test_options_need_the_option_fleet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without it, they have no effect on the rules of one daemon."""
    path = write_config(tmp_path, {})
    assert 2 == main(["rules", "-c", str(path), "--at-least", "2", "--vantage", "region"])
    assert "streamcanary rules: --vantage, --at-least need --fleet\n" == capfd.readouterr().err


def test_the_rules_of_a_region_refer_to_those_of_all(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without ``--fleet``, a note says that the rules are about one region."""
    config = {
        "region": "eu",
        "targets": {"sim": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}},
        "canaries": {"chat": {"target": "sim", "model": "m"}},
    }
    assert 0 == main(["rules", "-c", str(write_config(tmp_path, config))])
    assert "streamcanary: these rules are about each region; --fleet prints those about all\n" == capfd.readouterr().err
