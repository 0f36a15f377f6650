"""The verb ``rules`` with ``--fleet``: its output, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from streamcanary.cli.main import main
from support.programs.daemon import write_config

FLEET = {"replicas": 100, "member": "pod-a"}


def rules(
    folder: Path, capfd: pytest.CaptureFixture[str], *arguments: str, fleet: dict[str, Any] | None = None
) -> tuple[int, str, str]:
    """Run the verb; return the exit code, stdout and stderr."""
    config = {
        "targets": {"sim": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}},
        "canaries": {"chat": {"target": "sim", "model": "m", "every": "30s"}},
        **({"fleet": fleet} if fleet else {}),
    }
    code = main(["rules", "-c", str(write_config(folder, config)), *arguments])
    output = capfd.readouterr()
    return code, output.out, output.err


def test_the_rules_about_a_fleet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The file has one page and four tickets."""
    code, out, err = rules(tmp_path, capfd, "--fleet", fleet=FLEET)
    [group] = YAML(typ="safe").load(out)["groups"]
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in group["rules"] if "alert" in rule}
    assert (0, "") == (code, err)
    assert {
        "FleetFailing": "page",
        "FleetSilent": "ticket",
        "FleetMemberFailing": "ticket",
        "FleetSizeMismatch": "ticket",
        "FleetAbsent": "ticket",
    } == severities


def test_the_rules_do_not_depend_on_the_numbers_of_the_configuration(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Another number of replicas needs no other file."""
    texts = {rules(tmp_path, capfd, "--fleet", fleet={**FLEET, "replicas": number})[1] for number in (1, 2, 5000)}
    assert 1 == len(texts)


def test_labels_matchers_and_the_threshold_are_options(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """They are in the expressions."""
    options = ("--by", "region", "--match", 'namespace="shop"', "--threshold", "30%")
    _, out, _ = rules(tmp_path, capfd, "--fleet", *options, fleet=FLEET)
    assert True is ("namespace, region)" in out and '{namespace="shop"}' in out and ">= 0.3 - 1e-9" in out)


@pytest.mark.parametrize(
    ("arguments", "fleet", "expected"),
    [
        (["--fleet"], None, "--fleet: the configuration has no fleet and no region; add fleet: {replicas: 100"),
        (["--by", "region"], FLEET, "--by needs --fleet"),
        (["--fleet", "--by", "a-b"], FLEET, "--by: 'a-b' is not the name of a label"),
        (["--fleet", "--match", "region"], FLEET, "not a matcher: 'region'; write name=\"value\""),
        (["--fleet", "--threshold", "0%"], FLEET, "--threshold: must be more than 0%"),
        (["--fleet", "--threshold", "half"], FLEET, "--threshold: "),
    ],
)
def test_invalid_options(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    fleet: dict[str, Any] | None,
    expected: str,
) -> None:
    """The exit code is 2, nothing is printed on stdout, and the message says what is wrong."""
    code, out, err = rules(tmp_path, capfd, *arguments, fleet=fleet)
    assert (2, "") == (code, out)
    assert err.startswith(f"streamcanary rules: {expected}"), err


def test_the_rules_of_a_member_refer_to_those_of_the_fleet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without ``--fleet``, a note says that the rules are about each member."""
    code, out, err = rules(tmp_path, capfd, fleet=FLEET)
    assert (0, True) == (code, out.startswith("# Generated"))
    assert "streamcanary: these rules are about each member; --fleet prints those about all\n" == err
