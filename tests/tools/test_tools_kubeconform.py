"""Manifests are checked against the schemas of Kubernetes, without a network."""

import pytest

from support.kubernetes.schemas import Checked, check_manifests

NATIVE_SIDECAR = """\
apiVersion: v1
kind: Pod
metadata: {name: app}
spec:
  initContainers:
    - {name: canary, image: example, restartPolicy: Always}
  containers:
    - {name: app, image: example}
"""
MONITOR = """\
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {name: canaries}
spec: {}
"""

pytestmark = pytest.mark.real("kubeconform")


def test_a_native_sidecar_is_valid():
    """An init container with ``restartPolicy: Always`` is valid."""
    assert check_manifests(NATIVE_SIDECAR) == [Checked("Pod", "app")]


def test_an_unknown_field_and_a_wrong_type_are_problems():
    """Each problem is reported with its place."""
    manifest = NATIVE_SIDECAR.replace("image: example}", "image: 3, imagePolicy: Always}")
    [checked] = check_manifests(manifest)
    assert set(checked.problems) == {
        "'/spec/containers/0': additional properties 'imagePolicy' not allowed",
        "'/spec/containers/0/image': got number, want null or string",
    }


def test_a_kind_without_a_schema_is_a_problem_unless_it_is_skipped():
    """A custom resource is not taken for valid."""
    [checked] = check_manifests(MONITOR)
    assert "could not find schema for PodMonitor" in checked.problems[0]
    assert check_manifests(MONITOR, skip_kinds=["PodMonitor"]) == []


def test_a_kind_can_have_a_schema_of_its_own(tmp_path):
    """A file in ``folder`` is the schema of a custom resource."""
    (tmp_path / "podmonitor-monitoring-v1.json").write_text('{"required": ["spec"], "properties": {"kind": {}}}')
    assert check_manifests(MONITOR, folder=tmp_path) == [Checked("PodMonitor", "canaries")]
