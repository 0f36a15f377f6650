"""``check --shapes``, ``--shape`` and ``--plot``: outages that rules detect, as a table and as a picture."""

import re
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from streamcanary.alerting.forecast.shapes import STANDARD_SHAPES, RuleDelays, ShapeForecast, parse_shape
from streamcanary.cli.main import main
from streamcanary.cli.shapes.plot import MAX_RULES, draw_shapes
from support.programs.daemon import write_config

SPIKE = {"type": "spike"}
THREE = {"type": "consecutive", "failures": 3}
RULES: dict[str, Any] = {
    "Both": {"detector": SPIKE, "per": ["canary", "target"]},
    "Three": {"detector": THREE},
    "Slow": {"measure": "first_token", "limit": "2s", "detector": THREE},
}


@pytest.fixture
def configured(tmp_path: Path) -> Any:
    """Return a function that writes a configuration with some canaries, and returns its path."""

    def configured(rules: dict[str, Any], canaries: int = 2, **keys: Any) -> str:
        target = {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}
        return str(
            write_config(
                tmp_path,
                {
                    "targets": {"sim": target, "other": target},
                    "canaries": {
                        f"c{number}": {
                            "target": ("sim", "other")[number % 20 == 19],
                            "model": f"m{number % 50}",
                            **keys,
                        }
                        for number in range(canaries)
                    },
                    "alerts": {"rules": rules},
                },
            )
        )

    return configured


def checked(capfd: pytest.CaptureFixture[str], code: int, *arguments: str) -> tuple[list[str], str]:
    """Run ``check``; return the lines about outages, and what is on stderr."""
    assert code == main(["check", "-c", *arguments])
    output = capfd.readouterr()
    lines = output.out.splitlines()
    begin = next((number for number, line in enumerate(lines) if line.startswith("OUTAGE")), len(lines))
    return lines[begin:], output.err


def test_the_eight_shapes_are_printed_for_each_rule(configured: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Each outage is a row with the delay of each rule about failures, and the rule that is first."""
    lines, _ = checked(capfd, 0, configured(RULES, every="30s"), "--shapes")
    assert ["OUTAGE", "Both", "Three", "FIRST"] == lines[0].split()
    rows = [re.split(r" {2,}", line) for line in lines[1:9]]
    assert [shape.text for shape in STANDARD_SHAPES] == [row[0] for row in rows]
    both, three, first = rows[7][1:]
    assert ("canary", "Three") == (both.split()[1], first.split()[0])
    assert re.fullmatch(r"1m\d+s", three)
    notes = "\n".join(lines[9:])
    assert "in up to 60 simulated outages of 4h" in notes
    assert "not about failures of a provider, and left out: Slow" in notes


def test_false_pages_of_all_rules_are_added_up(configured: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """The last line has the false pages of the configuration in a year, and which rules have the most."""
    lines, _ = checked(capfd, 0, configured(RULES, every="30s"), "--shape", "100%")
    assert re.fullmatch(
        r"false pages of all rules: 3\d a year at the base rate \(Three 1\d, Slow 1\d, Both 0\.\d+\)", lines[-1]
    )


def test_written_shapes_replace_or_follow_the_eight(configured: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """``--shape`` alone simulates what is written, and with ``--shapes`` also the eight."""
    config = configured({"Three": {"detector": THREE}}, every="30s")
    written = ["--shape", "60s of 100% every 5m", "--shape", "10m of 80% on half"]
    lines, _ = checked(capfd, 0, config, *written)
    assert ["60s of 100% every 5m", "10m of 80% on half"] == [re.split(r" {2,}", line)[0] for line in lines[1:3]]
    lines, _ = checked(capfd, 0, config, *written, "--shapes")
    assert 10 == next(number for number, line in enumerate(lines) if line.startswith("OUTAGE:"))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("50", "--shape '50': has the error rate '50', which must be more than 0% and at most 100%; did you mean 50%?"),
        ("60s of 100% every 1m", "--shape '60s of 100% every 1m': 1m every 1m never ends; "),
        ("50% on one targets", "--shape '50% on one targets': no canary has the label targets; did you mean target?"),
    ],
)
def test_an_unreadable_shape_is_exit_code_2(
    configured: Any, capfd: pytest.CaptureFixture[str], shape: str, message: str
) -> None:
    """What is wrong, and what would be right, is on stderr, and nothing on stdout."""
    assert 2 == main(["check", "-c", configured({}, every="30s"), "--shape", shape])
    output = capfd.readouterr()
    assert ("", True) == (output.out, output.err.startswith(f"streamcanary: {message}"))


def test_too_many_shapes_are_an_error(configured: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """At most 20 shapes are simulated at once."""
    _, error = checked(capfd, 2, configured({}), *["--shape", "50%"] * 21)
    assert "streamcanary: --shape: 21 shapes; write at most 20\n" == error


def test_rules_about_other_things_are_said_to_see_nothing(configured: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Without a rule about failures of a provider, there is a sentence instead of a table."""
    assert 0 == main(["check", "-c", configured({"Slow": RULES["Slow"]}), "--shapes"])
    assert "no rule about failures of a provider: " in capfd.readouterr().out


def test_a_sample_of_many_canaries_is_simulated(configured: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Of 1,000 canaries a few are simulated, which takes seconds, and the output says so."""
    config = configured({"Both": RULES["Both"], "Three": RULES["Three"]}, 1000, every="30s")
    begun = time.process_time()
    lines, _ = checked(capfd, 0, config, "--shapes")
    assert time.process_time() - begun < 15
    [sample] = [line for line in lines if line.startswith("simulated with")]
    assert "simulated with 12 of the 1000 canaries, of the same schedules" in sample


def test_the_picture_is_svg_without_scripts(configured: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """``--plot`` alone draws the eight outages, each with a marker and a title for each rule, and no script."""
    picture = tmp_path / "outages.svg"
    checked(capfd, 0, configured(RULES, every="30s"), "--plot", str(picture))
    root = ET.fromstring(picture.read_text())  # noqa: S314 - our own
    names = {element.tag.split("}")[1] for element in root.iter()}
    assert {"svg", "title", "desc", "style", "rect", "path", "text", "g"} >= names
    titles = [element.text or "" for element in root.iter() if element.tag.endswith("title")]
    assert 16 == sum(bool(re.match(r"(Both|Three): .*: (\d|-)", title)) for title in titles)
    assert "prefers-color-scheme:dark" in picture.read_text()


def test_a_picture_that_cannot_be_written_is_exit_code_2(
    configured: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The error names the option and the file."""
    path = tmp_path / "missing" / "outages.svg"
    _, error = checked(capfd, 2, configured(RULES, every="30s"), "--shape", "100%", "--plot", str(path))
    assert f"streamcanary: --plot {path}: No such file or directory; give a file that can be written\n" in error


def test_a_picture_does_not_replace_another_kind_of_file(configured: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """A file that does not end in ``.svg``, such as the configuration itself, is refused."""
    config = configured(RULES, every="30s")
    _, error = checked(capfd, 2, config, "--plot", config)
    assert f"streamcanary: --plot {config}: the picture is SVG; give a file that ends in .svg\n" == error


def test_names_in_the_picture_are_escaped_and_bounded() -> None:
    """Text of the user cannot become markup; of many rules, some are drawn."""
    shape = parse_shape("50% on all")._replace(text="<script>&'\"" * 9)
    rules = tuple(f"<b>{number}" for number in range(MAX_RULES + 3))
    found = ShapeForecast(0.02, (shape,), rules, {(rule, shape): RuleDelays((None, 5.0)) for rule in rules}, 1, 1)
    picture = draw_shapes(found)
    ET.fromstring(picture)  # noqa: S314 - our own
    assert (False, False, True) == ("<script" in picture, "<b>" in picture, "and 3 more rules" in picture)


def test_what_is_not_detected_is_drawn_as_such() -> None:
    """A rule that seldom detects an outage has an open marker, and one that always fires says so."""
    shape = parse_shape("50% on all")
    cells = {("Never", shape): RuleDelays((None, None)), ("Always", shape): RuleDelays((0.0, 0.0))}
    picture = draw_shapes(ShapeForecast(0.02, (shape,), ("Never", "Always"), cells, 1, 1))
    assert (2, True, True) == (picture.count(" open"), ">0%<" in picture, ">always fires<" in picture)
    assert sys.getsizeof(picture) < 10_000
