"""The real helm, and the chart of the project."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from support.programs.required_tools import require_tool

CHART = Path(__file__).parents[3] / "helm" / "streamcanary"
VALUES = {path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}
"""The files in ``ci/`` of the chart, by name."""

MINIMAL: dict[str, Any] = {
    "secret": {"existing": "llm-keys"},
    "config": {
        "targets": {"openai": {"api_key_file": "/secrets/openai"}},
        "canaries": {"chat": {"target": "openai", "model": "gpt-4o-mini", "every": "30s"}},
    },
}
"""Values of a release with one canary."""


class HelmResult(NamedTuple):
    """The exit code and output of helm."""

    code: int
    stdout: str
    stderr: str


def helm(*arguments: object, folder: Path, within: float = 60.0, **environ: str) -> HelmResult:
    """Run helm with its caches in ``folder``, without a kubeconfig of the user."""
    own = {f"HELM_{kind}_HOME": str(folder / f"helm-{kind.lower()}") for kind in ("CACHE", "CONFIG", "DATA")}
    completed = subprocess.run(
        [str(require_tool("helm")), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
        env={**os.environ, "KUBECONFIG": str(folder / "no-kubeconfig"), **own, **environ},
    )
    return HelmResult(completed.returncode, completed.stdout, completed.stderr)


def template(folder: Path, *arguments: object, values: dict[str, Any] | None = None, chart: Path = CHART) -> HelmResult:
    """Render a chart as the release ``canary`` in the namespace ``monitoring``."""
    files = [] if values is None else ["--values", write_values(folder, values)]
    return helm("template", "canary", chart, "--namespace", "monitoring", *files, *arguments, folder=folder)


def rendered(
    folder: Path, *arguments: object, values: dict[str, Any] | None = None, chart: Path = CHART
) -> list[dict[str, Any]]:
    """Return the objects of a rendered chart."""
    result = template(folder, *arguments, values=values, chart=chart)
    assert (0, "") == (result.code, result.stderr)
    return objects_of(result.stdout)


def objects_of(text: str) -> list[dict[str, Any]]:
    """Return the Kubernetes objects in a stream of YAML documents."""
    return [each for each in YAML(typ="safe", pure=True).load_all(text) if each]


def object_of(objects: list[dict[str, Any]], kind: str, name: str = "canary-streamcanary") -> dict[str, Any]:
    """Return the object of a kind and name."""
    [found] = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def write_values(folder: Path, values: dict[str, Any]) -> Path:
    """Write values to a file in ``folder`` and return its path."""
    path = folder / "values.yaml"
    YAML(typ="safe", pure=True).dump(values, path)
    return path


def merged(base: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the values of ``other``, as helm merges them; a value of ``None`` removes a key."""
    both = {key: value for key, value in base.items() if other.get(key, value) is not None}
    for key, value in other.items():
        former = both.get(key)
        if isinstance(value, dict) and isinstance(former, dict):
            both[key] = merged(former, value)
        elif value is not None:
            both[key] = value
    return both


def text_values(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of the values of a schema that are texts, without those of the daemon's configuration."""
    for name, value in schema.get("properties", {}).items():
        if (*path, name) != ("config",):
            if value.get("type") == "string":
                yield (*path, name)
            yield from text_values(value, (*path, name))
