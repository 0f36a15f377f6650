"""The comparison with other projects says of this one what it has."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/comparison.md"])
@pytest.mark.parametrize(
    ("row", "part"),
    [
        ("Helm chart", "helm/streamcanary/Chart.yaml"),
        ("Reloads its configuration while running", "daemon/streamcanary/reload/reloader.py"),
    ],
)
def test_what_the_project_has_is_not_missing_from_the_comparison(page: str, row: str, part: str) -> None:
    """A row about a part that exists says yes."""
    answers = re.findall(rf"^\| {row} \| ([^|]+) \|", (ROOT / page).read_text(), re.MULTILINE)
    assert (ROOT / part).exists()
    assert {"yes"} >= {answer.strip("* ") for answer in answers}
