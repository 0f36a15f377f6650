"""The chart as a dependency of another one, with its condition and its global values."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from support.programs.helm import CHART, MINIMAL, helm, merged, object_of, rendered

pytestmark = pytest.mark.real("helm")

METADATA = {
    "apiVersion": "v2",
    "name": "platform",
    "version": "1.0.0",
    "dependencies": [
        {
            "name": "streamcanary",
            "version": ">=0.0.0-0",
            "repository": f"file://{CHART}",
            "condition": "streamcanary.enabled",
        }
    ],
}


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the chart of a platform that depends on this one."""
    folder = tmp_path_factory.mktemp("parent")
    (folder / "platform").mkdir()
    YAML(typ="safe", pure=True).dump(METADATA, folder / "platform" / "Chart.yaml")
    result = helm("dependency", "update", folder / "platform", folder=folder)
    assert 0 == result.code, result
    return folder / "platform"


def pod_spec(objects: list[dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = object_of(objects, "Deployment")["spec"]["template"]["spec"]
    return spec


def test_a_parent_chart_can_switch_it_on_and_off(parent: Path, tmp_path: Path) -> None:
    """The value ``enabled``, which the condition of the dependency reads, is accepted."""
    for is_enabled in (True, False):
        values = {"streamcanary": merged(MINIMAL, {"enabled": is_enabled})}
        objects = rendered(tmp_path, values=values, chart=parent)
        assert is_enabled is any(each["kind"] == "Deployment" for each in objects)


def test_global_values_select_registry_and_pull_secrets(parent: Path, tmp_path: Path) -> None:
    """The registry of the image is replaced in all pods, and pull secrets are added, as names or as maps."""
    values = {
        "global": {"imageRegistry": "registry.example:5000", "imagePullSecrets": ["shared", {"name": "own"}], "x": 1},
        "streamcanary": merged(MINIMAL, {"image": {"pullSecrets": [{"name": "own"}]}}),
    }
    objects = rendered(tmp_path, values=values, chart=parent)
    spec = pod_spec(objects)
    assert "registry.example:5000/streamcanary/streamcanary:0.1.0" == spec["containers"][0]["image"]
    assert [{"name": "own"}, {"name": "shared"}] == spec["imagePullSecrets"]
    job = object_of(objects, "Job", "canary-streamcanary-check")
    assert spec["imagePullSecrets"] == job["spec"]["template"]["spec"]["imagePullSecrets"]


@pytest.mark.parametrize("repository", ["team/canary", "canary"])
def test_a_repository_without_a_registry_gets_that_of_the_parent(repository: str, parent: Path, tmp_path: Path) -> None:
    """Its first part is a registry only if it has a dot or a port, or is localhost."""
    values = {
        "global": {"imageRegistry": "registry.example/"},
        "streamcanary": merged(MINIMAL, {"image": {"repository": repository}}),
    }
    spec = pod_spec(rendered(tmp_path, values=values, chart=parent))
    assert f"registry.example/{repository}:0.1.0" == spec["containers"][0]["image"]


def test_other_global_values_are_ignored(tmp_path: Path) -> None:
    """A parent chart has global values for other charts, or none at all."""
    assert rendered(tmp_path, values=merged(MINIMAL, {"global": {"region": "eu", "imageRegistry": ""}}))
