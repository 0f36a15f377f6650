"""The key ``region``: where a daemon runs."""

from pathlib import Path

import pytest

from streamcanary.settings import ConfigInvalid, Settings, load

VALID = """\
region: ${REGION}
targets:
  own: {base_url: "http://127.0.0.1:8080/v1", api_key: none}
canaries:
  chat: {target: own, model: m}
"""


def loaded(folder: Path, text: str = VALID, **environ: str) -> Settings:
    """Return the settings of ``text``."""
    path = folder / "c.yaml"
    path.write_text(text)
    return load(path, environ)


def problems(folder: Path, text: str, **environ: str) -> list[str]:
    """Return the config errors of ``text``, without the path of the file."""
    with pytest.raises(ConfigInvalid) as raised:
        loaded(folder, text, **environ)
    return [str(problem).removeprefix(f"{folder / 'c.yaml'}:") for problem in raised.value.problems]


def test_the_region_may_come_from_the_environment(tmp_path: Path) -> None:
    """All regions have one file; a variable of the file or an override has the region."""
    assert "eu-west-1" == loaded(tmp_path, REGION="eu-west-1").region
    assert "us" == loaded(tmp_path, VALID.replace("region: ${REGION}\n", ""), STREAMCANARY_REGION="us").region


def test_there_is_no_region_by_default(tmp_path: Path) -> None:
    """A daemon that is alone needs none."""
    assert None is loaded(tmp_path, VALID.replace("region: ${REGION}\n", "")).region


SPACES = "must not begin or end with white space, or have line ends; two regions would look the same"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("''", "1:9: region: must have at least 1 character"),
        ("7", "1:9: region: must be text, not a number; put it in quotes"),
        ("[eu, us]", "1:1: region: must be text, not a list"),
        (f"'{'a' * 201}'", "1:9: region: must have at most 200 characters"),
        *((value, f"1:9: region: {SPACES}") for value in ("' '", "' eu'", r'"eu\n"', r'"e\tu"', r'"e\u202eu"')),
    ],
)
def test_invalid_regions(tmp_path: Path, value: str, expected: str) -> None:
    """A region is a short text."""
    assert [expected] == problems(tmp_path, VALID.replace("${REGION}", value))


def test_a_resource_of_another_region_is_refused(tmp_path: Path) -> None:
    """Metrics and traces of one daemon must not be of two regions; the same one twice is valid."""
    text = f"{VALID}telemetry: {{resource: {{cloud.region: eu}}}}\n"
    assert "eu" == loaded(tmp_path, text, REGION="eu").region
    [problem] = problems(tmp_path, text, REGION="us")
    assert "6:38: telemetry.resource.cloud.region: " in problem
    assert problem.endswith("is not the region of this daemon, which is us by the key region; remove one of them")


RECEIVER = """\
alerts:
  receivers:
    hook: {type: webhook, url: "http://127.0.0.1:9/", secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw}
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (VALID, 0),
        (VALID + RECEIVER, 1),
        (f"instance: eu\n{VALID}{RECEIVER}", 0),
        (VALID.replace("region: ${REGION}\n", "") + RECEIVER, 0),
    ],
    ids=["no receiver", "default instance", "instance", "no region"],
)
def test_regions_with_the_same_instance_are_a_warning(tmp_path: Path, text: str, expected: int) -> None:
    """Their notifications would have the same keys: one region would resolve what another one still sees failing."""
    warnings = [str(warning) for warning in loaded(tmp_path, text, REGION="eu").warnings]
    found = [warning for warning in warnings if "region: instance is the default in all regions" in warning]
    assert expected == len(found), warnings
