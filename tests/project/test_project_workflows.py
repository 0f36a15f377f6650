"""The workflows of GitHub Actions are valid, and grant no more than they need."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.programs.image import Dockerfile
from support.programs.required_tools import require_tool

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
_PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def load(path: Path) -> dict[str, Any]:
    workflow: dict[str, Any] = yaml.safe_load(path.read_text())
    return workflow


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.fixture
def release() -> dict[str, Any]:
    return load(ROOT / ".github" / "workflows" / "release.yml")


@pytest.mark.real("actionlint")
def test_actionlint_finds_nothing():
    """Keys, expressions, contexts, events and the inputs of well-known actions are valid."""
    command = [str(require_tool("actionlint")), "-no-color", "-shellcheck=", "-pyflakes=", *map(str, WORKFLOWS)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (0, "") == (checked.returncode, checked.stdout), checked.stdout


@pytest.mark.real("actionlint")
def test_actionlint_finds_mistakes(tmp_path: Path):
    """An output that no job has is found, which the test above relies on."""
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    broken = tmp_path / "release.yml"
    broken.write_text(text.replace("needs.image.outputs.digest", "needs.image.outputs.checksum"))
    command = [str(require_tool("actionlint")), "-no-color", "-shellcheck=", "-pyflakes=", str(broken)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (1, True) == (checked.returncode, 'property "checksum" is not defined' in checked.stdout), checked.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_digest(path: Path):
    """A tag can be moved to another commit; a comment has the version, which Dependabot keeps up to date."""
    used = re.findall(r"uses: (.*)", path.read_text())
    assert (len([step for step in steps(load(path)) if "uses" in step]), []) == (
        len(used),
        [action for action in used if not _PINNED.fullmatch(action)],
    )


def test_dependabot_updates_what_is_pinned():
    """Actions, the base image and the packages of Python have an ecosystem each."""
    updates = load(ROOT / ".github" / "dependabot.yml")["updates"]
    assert {"github-actions", "docker", "pip"} == {update["package-ecosystem"] for update in updates}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_scripts_contain_no_expressions(path: Path):
    """A name of a tag or branch gets into a script as an environment variable, never as text."""
    assert [] == [step["run"] for step in steps(load(path)) if "${{" in step.get("run", "")]


def test_each_job_has_its_own_rights(release: dict[str, Any]):
    """Only what pushes may write packages and sign, and only the last job may create the release."""
    assert {} == release["permissions"]
    publish = {"contents": "read", "packages": "write", "id-token": "write"}
    assert {
        "archives": {"contents": "read"},
        "image": publish,
        "chart": publish,
        "release": {"contents": "write"},
    } == {name: job["permissions"] for name, job in release["jobs"].items()}


def test_nothing_is_published_before_the_check(release: dict[str, Any]):
    """The check of the release comes first, and the release last."""
    assert {
        "archives": None,
        "image": "archives",
        "chart": ["archives", "image"],
        "release": ["archives", "image", "chart"],
    } == {name: job.get("needs") for name, job in release["jobs"].items()}


def test_the_image_is_built_for_both_platforms_with_sbom_and_provenance(release: dict[str, Any]):
    """The build sets each argument of the Dockerfile."""
    [build] = [step["with"] for step in steps(release) if step.get("id") == "build"]
    assert ("linux/amd64,linux/arm64", True, "mode=max") == (build["platforms"], build["sbom"], build["provenance"])
    set_here = {line.partition("=")[0] for line in build["build-args"].splitlines()}
    assert {argument.partition("=")[0] for argument in Dockerfile.read().all("ARG")} == set_here


def test_images_are_signed_by_digest(release: dict[str, Any]):
    """A tag can move between push and signature."""
    signed = re.findall(r"cosign sign .*", "\n".join(step.get("run", "") for step in steps(release)))
    assert 2 == len(signed)
    assert [] == [command for command in signed if not re.search(r'@\$(DIGEST|digest)"$', command)]


def test_the_release_downloads_what_was_uploaded(release: dict[str, Any]):
    """Artifacts are downloaded by name, and the action that builds the image uploads none of its own."""
    names: dict[str, list[str]] = {"upload": [], "download": []}
    for step in steps(release):
        for kind, found in names.items():
            if f"/{kind}-artifact@" in step.get("uses", ""):
                found.append(step["with"]["name"])
    assert ["dist", "charts"] == names["upload"] == names["download"]
    [build] = [step for step in steps(release) if step.get("id") == "build"]
    assert "false" == build["env"]["DOCKER_BUILD_RECORD_UPLOAD"]


def test_the_name_of_the_image_has_no_capitals(release: dict[str, Any]):
    """It is that of the repository, whose owner may have some, in lower case; each job takes it from the first one."""
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    assert [] == re.findall(r"ghcr\.io/\$\{\{.*", text)
    assert ["ghcr.io/${GITHUB_REPOSITORY,,}"] == re.findall(r'ghcr\.io/[^"\s]+', text)
    for name in ("image", "chart", "release"):
        assert "${{ needs.archives.outputs.image }}" == release["jobs"][name]["env"]["IMAGE"]
