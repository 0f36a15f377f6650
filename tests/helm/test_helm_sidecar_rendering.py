"""The library chart renders as recorded in the chart of an application, for its defaults and each file in its ``ci/``.

``UPDATE_HELM_OUTPUT=1 make test ARGS=tests/helm`` writes the recorded output again: review the difference before you
commit it.
"""

import os
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from streamcanary import __version__
from support.kubernetes.schemas import check_manifests
from support.programs.helm import CHART, helm, template
from support.programs.sidecar_chart import APPLICATION, LIBRARY, VALUES

pytestmark = pytest.mark.real("helm")

RECORDED = Path(__file__).parents[1] / "fixtures" / "helm-sidecar"
OPERATOR_KINDS = ("PodMonitor", "PrometheusRule")


def values_files(name: str) -> list[object]:
    return ["--values", VALUES[name]] if name in VALUES else []


@pytest.mark.parametrize("name", ["default", *VALUES])
def test_the_rendered_objects_are_as_recorded(name: str, application: Path, tmp_path: Path) -> None:
    """Each set of values gives the recorded objects, and no warning."""
    result = template(tmp_path, *values_files(name), chart=application)
    assert (0, "") == (result.code, result.stderr)
    path = RECORDED / f"{name}.yaml"
    if os.environ.get("UPDATE_HELM_OUTPUT"):
        path.write_text(result.stdout)
    assert path.read_text() == result.stdout, "if the change is wanted: UPDATE_HELM_OUTPUT=1, see above"


def test_nothing_else_is_recorded() -> None:
    """Each recorded output belongs to a set of values."""
    assert {"default", *VALUES} == {path.stem for path in RECORDED.iterdir()}


@pytest.mark.parametrize("name", ["default", *VALUES])
def test_helm_lint_accepts_an_application_with_the_sidecar(name: str, application: Path, tmp_path: Path) -> None:
    """``helm lint --strict`` has no complaint about the application with each set of values."""
    result = helm("lint", "--strict", application, *values_files(name), folder=tmp_path)
    assert (0, ["1 chart(s) linted, 0 chart(s) failed"]) == (result.code, result.stdout.splitlines()[2:]), result


@pytest.mark.real("kubeconform")
@pytest.mark.parametrize("name", ["default", *VALUES])
def test_kubeconform_accepts_the_objects(name: str, application: Path, tmp_path: Path) -> None:
    """No object has an unknown field, or a value of a wrong type."""
    result = template(tmp_path, *values_files(name), chart=application)
    checked = check_manifests(result.stdout, skip_kinds=OPERATOR_KINDS)
    assert {} == {f"{each.kind}/{each.name}": each.problems for each in checked if each.problems}
    assert "Deployment" in {each.kind for each in checked}


def test_helm_lint_accepts_the_library(tmp_path: Path) -> None:
    """``helm lint --strict`` has no complaint about the library chart by itself."""
    result = helm("lint", "--strict", LIBRARY, folder=tmp_path)
    assert (0, ["1 chart(s) linted, 0 chart(s) failed"]) == (result.code, result.stdout.splitlines()[2:]), result


def test_an_application_can_depend_on_the_package(tmp_path: Path) -> None:
    """The package of a release renders as the folder does, and has no files for tests."""
    result = helm("package", LIBRARY, "--destination", tmp_path, folder=tmp_path)
    package = tmp_path / f"streamcanary-sidecar-{__version__}.tgz"
    assert (0, True) == (result.code, package.exists()), result
    chart = tmp_path / "shop"
    (chart / "templates").mkdir(parents=True)
    for path in (*APPLICATION.glob("*.yaml"), *APPLICATION.glob("templates/*")):
        (chart / path.relative_to(APPLICATION)).write_bytes(path.read_bytes())
    (chart / "charts").mkdir()
    package.rename(chart / "charts" / package.name)
    assert (RECORDED / "default.yaml").read_text() == template(tmp_path, chart=chart).stdout
    assert "registry.example/shop" not in helm("show", "all", chart / "charts" / package.name, folder=tmp_path).stdout


def test_both_charts_are_of_this_version(tmp_path: Path) -> None:
    """The charts have the version of the package, and share icon and Kubernetes version."""
    daemon, sidecar = (YAML(typ="safe", pure=True).load(folder / "Chart.yaml") for folder in (CHART, LIBRARY))
    for key in ("version", "appVersion", "kubeVersion", "icon", "maintainers"):
        assert daemon[key] == sidecar[key]
    assert (__version__, "library") == (sidecar["appVersion"], sidecar["type"])
