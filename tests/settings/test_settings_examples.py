"""The example configurations in ``config/examples`` are good ones: valid, without warnings, bounded."""

from pathlib import Path

import pytest
from tools.docs import examples
from tools.docs.examples import FOLDER, ORDER, VARIABLES
from tools.docs.page import Stale

from streamcanary.canary.config_warnings import is_reasoning_model
from streamcanary.cli.main import main
from streamcanary.settings import Settings, load

ROOT = Path(__file__).parents[2]
WITHOUT_RECEIVER = "sidecar.yaml"


@pytest.fixture(params=ORDER)
def name(request: pytest.FixtureRequest) -> str:
    """Return the path of an example below the folder."""
    return str(request.param)


@pytest.fixture
def settings(name: str) -> Settings:
    return load(FOLDER / name, VARIABLES)


def test_each_begins_with_the_line_of_the_schema(name):
    """Editors find the schema by the first line of the file, relative to it."""
    path = (FOLDER / name).read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (ROOT / "config/streamcanary.schema.json") == (FOLDER / name).parent.joinpath(path).resolve()


def test_check_has_no_warning(name, capfd, monkeypatch):
    """``check`` warns of nothing, not even of a fleet that notifies nobody itself."""
    for variable, value in VARIABLES.items():
        monkeypatch.setenv(variable, value)
    assert 0 == main(["check", "-c", str(FOLDER / name)])
    assert "" == capfd.readouterr().err


def test_the_output_is_bounded(settings):
    """Each canary limits the tokens of an answer, and leaves a reasoning model enough of them."""
    for canary in settings.canaries.values():
        _, limit = canary.token_limit
        assert limit is not None
        may_reason = any(map(is_reasoning_model, canary.models)) and "enable_thinking" not in str(canary.request)
        assert (500 if may_reason else 16) <= limit <= 4000


def test_each_has_a_budget_a_rule_and_a_receiver(name, settings):
    """The spend is limited, and somebody is notified, except by a sidecar."""
    budget = settings.budget
    assert budget.requests_per_minute is not None
    is_free = all(target.price == "free" for target in settings.targets.values())
    assert is_free or name == WITHOUT_RECEIVER or budget.usd_per_day is not None
    assert settings.alerts.rules or settings.fleet  # `rules --fleet` has rules for a fleet
    assert (name == WITHOUT_RECEIVER) != bool(settings.alerts.receivers)


def test_variables_are_named_in_the_first_lines(name):
    """The comment at the top names each variable that has no default."""
    text = (FOLDER / name).read_text()
    comment = text[: text.index("\n\n")]
    needed = {variable for variable in VARIABLES if f"${{{variable}}}" in text}
    assert set() == {variable for variable in needed if variable not in comment}


def test_an_example_that_is_refused_is_named(tmp_path, monkeypatch):
    """The generator of the page reports an example that ``check`` refuses, and one that is not in its list."""
    monkeypatch.setattr(examples, "FOLDER", tmp_path)
    monkeypatch.setattr(examples, "ROOT", tmp_path)
    (tmp_path / "new.yaml").write_text("# a comment\ntargets: {}\n")
    with pytest.raises(Stale, match="ORDER: differs"):
        examples.examples_page()
    monkeypatch.setattr(examples, "ORDER", ("new.yaml",))
    with pytest.raises(Stale, match=r"new.yaml: must begin with the line of the schema"):
        examples.examples_page()
    (tmp_path / "new.yaml").write_text("# yaml-language-server: $schema=s.json\n#\n# New: one.\ntargets: {}\n")
    with pytest.raises(Stale, match=r"canaries: is required, and missing"):
        examples.examples_page()
