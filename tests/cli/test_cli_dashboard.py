"""The verb ``dashboard`` lists, prints and writes the Grafana dashboards."""

import json
from pathlib import Path

import pytest

from streamcanary.cli.main import main

ROOT = Path(__file__).parents[2]
NAMES = ["alerting", "canary", "daemon", "genai", "overview"]


def test_a_dashboard_is_printed_as_the_file_in_config(capfd):
    """The output is the file in ``config/grafana/dashboards``, which Grafana imports."""
    for name in NAMES:
        assert main(["dashboard", name]) == 0
        assert (ROOT / f"config/grafana/dashboards/{name}.json").read_text() == capfd.readouterr().out


def test_without_a_name_the_dashboards_are_listed(capfd):
    """Each dashboard has a line with its name and title."""
    assert main(["dashboard"]) == 0
    assert [line.split()[0] for line in capfd.readouterr().out.splitlines()] == ["NAME", *NAMES]


def test_all_dashboards_are_written_to_a_folder(tmp_path, capfd):
    """``--output`` creates the folder, and a file for each dashboard; stdout stays empty."""
    assert main(["dashboard", "--output", str(tmp_path / "new")]) == 0
    assert sorted(path.stem for path in (tmp_path / "new").iterdir()) == NAMES
    assert json.loads((tmp_path / "new/canary.json").read_text())["uid"] == "streamcanary-canary"
    output = capfd.readouterr()
    assert (output.out, len(output.err.splitlines())) == ("", len(NAMES))


def test_one_dashboard_is_written_to_a_folder(tmp_path):
    """With a name, ``--output`` writes only that file."""
    assert main(["dashboard", "genai", "--output", str(tmp_path)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["genai.json"]


def test_an_unknown_name_is_an_error(capfd):
    """The message has the names that exist."""
    assert main(["dashboard", "runs"]) == 2
    expected = "no dashboard is called 'runs'; there are: alerting, canary, daemon, genai, overview\n"
    assert (capfd.readouterr().err) == expected


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path, capfd, name):
    """The message has the folder and the reason, and the exit code is 1."""
    (tmp_path / "file").write_text("")
    assert main(["dashboard", "--output", str(tmp_path / name)]) == 1
    assert capfd.readouterr().err.startswith(f"cannot write to {tmp_path / name}: ")
