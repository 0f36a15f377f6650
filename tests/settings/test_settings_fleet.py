"""The ``fleet:`` section: what it changes of canaries and budget, and its config errors."""

from pathlib import Path

import pytest

from streamcanary.settings import ConfigInvalid, Settings, load

VALID = """\
instance: shop
fleet: {replicas: 100, member: "${POD_NAME}"}
targets:
  own: {base_url: "http://127.0.0.1:8080/v1", api_key: none, price: {input: 1, output: 1}}
canaries:
  chat: {target: own, model: m, every: 30s}
  default: {target: own, model: m}
budget: {usd_per_day: 5, requests_per_minute: 20}
"""
ENVIRON = {"POD_NAME": "shop-7f9"}


def loaded(tmp_path: Path, text: str = VALID, **environ: str) -> Settings:
    """Return the settings of ``text``."""
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return load(path, ENVIRON | environ)


def problems(tmp_path: Path, text: str, **environ: str) -> list[str]:
    """Return the config errors of ``text``, without the path of the file."""
    with pytest.raises(ConfigInvalid) as raised:
        loaded(tmp_path, text, **environ)
    return [str(problem).removeprefix(f"{tmp_path / 'c.yaml'}:") for problem in raised.value.problems]


def test_intervals_are_multiplied(tmp_path: Path) -> None:
    """Each of a hundred members runs a hundred times less often, also with the default interval."""
    settings = loaded(tmp_path)
    assert [3000.0, 6000.0] == [spec.every for spec in settings.canaries.values()]
    assert [3000.0, 6000.0] == [canary.interval for canary in settings.to_canaries()]


def test_the_default_of_the_total_timeout_follows_the_interval_of_a_member(tmp_path: Path) -> None:
    """The runs of a member must not overlap; those of several members may."""
    text = VALID.replace("every: 30s", "every: 30s, timeouts: {total: 40s}")
    assert [40.0, 60.0] == [spec.timeouts.total for spec in loaded(tmp_path, text).canaries.values()]
    assert 60.0 == loaded(tmp_path).canaries["chat"].timeouts.total


def test_the_budget_is_divided(tmp_path: Path) -> None:
    """Each member has one hundredth of both limits; fractions of a request stay."""
    budget = loaded(tmp_path).budget
    assert (0.05, 0.2) == (budget.usd_per_day, budget.requests_per_minute)


@pytest.mark.parametrize("replicas", [1, 1000])
def test_a_daily_budget_that_is_enough_is_valid_for_any_number_of_members(tmp_path: Path, replicas: int) -> None:
    """The share of a member pays for its runs, which are as much less often."""
    text = VALID.replace("replicas: 100", f"replicas: {replicas}").replace("every: 30s", "every: 1h")
    text = text.replace("  default: {target: own, model: m}\n", "").replace("output: 1}", "output: 15}")
    assert 0.1 / replicas == loaded(tmp_path, text.replace("usd_per_day: 5", "usd_per_day: 0.1")).budget.usd_per_day
    [problem] = problems(tmp_path, text.replace("usd_per_day: 5", "usd_per_day: 0.0001"))
    assert "is less than the cost of one run of canary chat" in problem


def test_a_fleet_of_one_changes_nothing_but_the_instance(tmp_path: Path) -> None:
    """With one replica, the intervals and limits are those in the file."""
    settings = loaded(tmp_path, VALID.replace("100", "1"))
    assert ([30.0, 60.0], 5.0) == ([spec.every for spec in settings.canaries.values()], settings.budget.usd_per_day)


@pytest.mark.parametrize(
    ("fleet", "expected"),
    [
        ('fleet: {replicas: 100, member: "${POD_NAME}"}\n', "shop/shop-7f9"),
        ("fleet: {replicas: 1, member: a}\n", "shop/a"),
        ("fleet: {replicas: 1}\n", "shop"),
        ("", "shop"),
    ],
)
def test_each_member_has_an_instance_of_its_own(tmp_path: Path, fleet: str, expected: str) -> None:
    """The keys of alerts, and the phases of canaries, have the name of the member."""
    text = VALID.replace('fleet: {replicas: 100, member: "${POD_NAME}"}\n', fleet)
    assert expected == loaded(tmp_path, text).member_instance


def test_the_number_of_replicas_can_be_a_variable(tmp_path: Path) -> None:
    """It can come from a variable in the file, or from an override."""
    text = VALID.replace("replicas: 100", 'replicas: "${REPLICAS:-10}"')
    assert 300.0 == loaded(tmp_path, text).canaries["chat"].every
    assert 600.0 == loaded(tmp_path, text, REPLICAS="20").canaries["chat"].every
    assert 60.0 == loaded(tmp_path, text, STREAMCANARY_FLEET__REPLICAS="2").canaries["chat"].every


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("replicas: 100", "replicas: 0", "2:19: fleet.replicas: must be greater than or equal to 1"),
        ("replicas: 100", "replicas: 10001", "2:19: fleet.replicas: must be less than or equal to 10000"),
        ("replicas: 100", "replicas: many", "2:19: fleet.replicas: must be a number, not text"),
        ("replicas: 100, ", "", "2:1: fleet.replicas: is required, and missing"),
        (
            ', member: "${POD_NAME}"',
            "",
            "2:1: fleet: needs the key member with more than one replica: a name of its own, such as ${POD_NAME}",
        ),
        ("${POD_NAME}", "", "2:32: fleet.member: must have at least 1 character"),
        ("${POD_NAME}", "${NODE:-}", "2:32: fleet.member: must have at least 1 character"),
        ("${POD_NAME}", "${NODE}", "2:32: fleet.member: ${NODE} is not set; set NODE in the environment"),
        ("every: 30s", "every: soon", "6:40: canaries.chat.every: not a duration: write a number with a unit"),
        (
            "every: 30s",
            "every: 52w",
            "6:40: canaries.chat.every: 364d times fleet.replicas, 100, is longer than ten years; write less",
        ),
        (
            "every: 30s",
            'cron: "* * * * *"',
            "6:39: canaries.chat.cron: cannot be divided among the 100 members of fleet, which would all run at once;",
        ),
        (
            "usd_per_day: 5",
            "usd_per_day: 0.0001",
            "8:23: budget.usd_per_day: divided by the 100 members of fleet, is less than the cost of one run of canary",
        ),
    ],
)
def test_config_errors(tmp_path: Path, old: str, new: str, expected: str) -> None:
    """Each error says where it is, and what would be valid."""
    found = problems(tmp_path, VALID.replace(old, new, 1))
    assert len(found) == 1
    assert found[0].startswith(expected), found[0]


def test_the_liveness_file_is_relative_to_the_file_and_need_not_exist(tmp_path: Path) -> None:
    """Like other paths it starts at the folder of the configuration; unlike a secret it is not read."""
    assert tmp_path / "run/alive" == loaded(tmp_path, f"{VALID}web: {{liveness_file: run/alive}}\n").web.liveness_file
    found = problems(tmp_path, f"{VALID}web: {{liveness_file: ''}}\n")
    assert ["9:22: web.liveness_file: must be the path of a file"] == found
