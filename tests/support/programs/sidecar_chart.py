"""The library chart of the sidecar, in the chart of an application, and the Kustomize component."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

from support.programs.helm import helm, objects_of
from support.programs.required_tools import require_tool

ROOT = Path(__file__).parents[3]
LIBRARY = ROOT / "helm" / "streamcanary-sidecar"
COMPONENT = ROOT / "helm" / "kustomize"
APPLICATION = LIBRARY / "ci" / "shop"
"""The chart of an application whose pods have the sidecar."""

VALUES = {path.name.removesuffix("-values.yaml"): path for path in sorted((APPLICATION / "ci").glob("*-values.yaml"))}
"""The sets of values of the application, by name."""

SIDECAR = "streamcanary"
"""The name of the container."""


def application_chart(folder: Path) -> Path:
    """Return a copy of the application's chart in ``folder``, with the library that it depends on."""
    library = folder / LIBRARY.name
    shutil.copytree(LIBRARY, library)
    chart = library / APPLICATION.relative_to(LIBRARY)
    result = helm("dependency", "update", chart, folder=folder)
    assert 0 == result.code, result
    return chart


def kustomize(folder: Path) -> list[dict[str, Any]]:
    """Return the objects that ``kubectl kustomize`` makes of the kustomization in ``folder``."""
    result = subprocess.run(
        [str(require_tool("kubectl")), "kustomize", str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "KUBECONFIG": str(folder / "no-kubeconfig")},
    )
    assert (0, "") == (result.returncode, result.stderr), result.stderr
    return objects_of(result.stdout)


def pod_spec_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the pod spec of the only Deployment."""
    [deployment] = [each for each in objects if each["kind"] == "Deployment"]
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def sidecar_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sidecar in the pod spec of the only Deployment."""
    [container] = [each for each in pod_spec_of(objects)["initContainers"] if each["name"] == SIDECAR]
    found: dict[str, Any] = container
    return found
