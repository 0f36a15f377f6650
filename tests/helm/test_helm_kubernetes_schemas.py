"""Kubernetes knows each kind and each field of the rendered objects."""

from pathlib import Path

import pytest

from support.kubernetes.schemas import check_manifests
from support.programs.helm import VALUES, template

pytestmark = [pytest.mark.real("helm"), pytest.mark.real("kubeconform")]

OPERATOR_KINDS = ("PodMonitor", "ServiceMonitor", "PrometheusRule")
"""Kinds of the Prometheus operator, which ``tests/kubernetes/`` installs into a real API server."""


@pytest.mark.parametrize("name", ["default", *VALUES])
def test_kubeconform_accepts_the_objects(name: str, tmp_path: Path) -> None:
    """No object has an unknown field, or a value of a wrong type."""
    result = template(tmp_path, *(["--values", VALUES[name]] if name in VALUES else []))
    checked = check_manifests(result.stdout, skip_kinds=OPERATOR_KINDS)
    assert {} == {f"{each.kind}/{each.name}": each.problems for each in checked if each.problems}
    assert "Deployment" in {each.kind for each in checked}
