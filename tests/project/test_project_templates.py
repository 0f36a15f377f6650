"""The templates for issues and pull requests have the format of the repository host."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
FORMS = sorted(path.name for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")


def load(name: str) -> dict[str, Any]:
    """Return the content of a file in the folder of the issue templates."""
    content: dict[str, Any] = YAML(typ="safe").load((GITHUB / "ISSUE_TEMPLATE" / name).read_text(encoding="utf-8"))
    return content


def test_there_is_a_form_for_bugs_and_one_for_features() -> None:
    """There are two forms, and issues without a form are disabled."""
    assert ["bug_report.yml", "feature_request.yml"] == FORMS
    assert False is load("config.yml")["blank_issues_enabled"]


@pytest.mark.parametrize("name", FORMS)
def test_a_form_has_the_required_fields(name: str) -> None:
    """A form has a name, a description, and fields with unique ids and labels."""
    form = load(name)
    assert form["name"]
    assert form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in fields} <= {"input", "textarea", "dropdown", "checkboxes"}
    assert len(fields) == len({field["id"] for field in fields})
    assert [] == [field["id"] for field in fields if not field["attributes"].get("label")]
    assert [] == [
        field["id"]
        for field in fields
        if field["type"] in ("dropdown", "checkboxes") and not field["attributes"]["options"]
    ]


def test_the_bug_form_points_to_private_reporting() -> None:
    """The form for bugs refers to SECURITY.md for vulnerabilities."""
    texts = [field["attributes"]["value"] for field in load("bug_report.yml")["body"] if field["type"] == "markdown"]
    assert any("SECURITY.md" in text for text in texts)


def test_the_pull_request_template_asks_for_tests_docs_and_changelog() -> None:
    """The template has the sections What, Why, How tested and Checklist."""
    lines = (GITHUB / "PULL_REQUEST_TEMPLATE.md").read_text(encoding="utf-8").splitlines()
    assert ["## What", "## Why", "## How tested", "## Checklist"] == [each for each in lines if each.startswith("#")]
    assert ["Tests", "Docs", "CHANGELOG"] == [
        each.removeprefix("- [ ] ").partition(":")[0] for each in lines if each.startswith("- [ ]")
    ]


def test_the_security_policy_names_no_address() -> None:
    """Reports go through the repository host, and the policy states versions and times."""
    policy = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "@" not in policy
    assert "private vulnerability reporting" in policy
    assert ["Supported versions", "Report a vulnerability", "What counts", "What does not count"] == [
        line.removeprefix("## ") for line in policy.splitlines() if line.startswith("## ")
    ]
