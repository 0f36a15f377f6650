"""The chart renders as recorded, for its defaults and for each file in ``ci/``.

``UPDATE_HELM_OUTPUT=1 make test ARGS=tests/helm`` writes the recorded output again: review the difference before you
commit it.
"""

import os
import re
from pathlib import Path

import pytest

from streamcanary import __version__
from support.programs.helm import CHART, VALUES, helm, template

pytestmark = pytest.mark.real("helm")

RECORDED = Path(__file__).parents[1] / "fixtures" / "helm"
_TOKEN = re.compile(r'^(  "token": )\S+$', re.MULTILINE)
_DASHBOARD = re.compile(r"^(  streamcanary-\w+\.json: \|\n)(?: {4}.*\n)+", re.MULTILINE)


def comparable(text: str) -> str:
    """Return rendered output without random tokens, and without the content of the dashboards."""
    return _DASHBOARD.sub(r"\1    (a dashboard)\n", _TOKEN.sub(r"\1(random)", text))


@pytest.mark.parametrize("name", ["default", *VALUES])
def test_the_rendered_objects_are_as_recorded(name: str, tmp_path: Path) -> None:
    """Each set of values gives the recorded objects, and no warning."""
    result = template(tmp_path, *(["--values", VALUES[name]] if name in VALUES else []))
    assert (0, "") == (result.code, result.stderr)
    path = RECORDED / f"{name}.yaml"
    actual = comparable(result.stdout)
    if os.environ.get("UPDATE_HELM_OUTPUT"):
        path.write_text(actual)
    assert path.read_text() == actual, "if the change is wanted: UPDATE_HELM_OUTPUT=1, see above"


def test_nothing_else_is_recorded() -> None:
    """Each recorded output belongs to a set of values."""
    assert {"default", *VALUES} == {path.stem for path in RECORDED.iterdir()}


@pytest.mark.parametrize("name", ["default", *VALUES])
def test_the_chart_passes_helm_lint(name: str, tmp_path: Path) -> None:
    """``helm lint --strict`` has no complaint about the chart with each set of values."""
    files = ["--values", VALUES[name]] if name in VALUES else []
    result = helm("lint", "--strict", CHART, *files, folder=tmp_path)
    assert (0, ["1 chart(s) linted, 0 chart(s) failed"]) == (result.code, result.stdout.splitlines()[2:]), result


def test_the_chart_can_be_packaged(tmp_path: Path) -> None:
    """The package renders as the folder does, and has no files for tests."""
    result = helm("package", CHART, "--destination", tmp_path, folder=tmp_path)
    package = tmp_path / "streamcanary-0.1.0.tgz"
    assert (0, True) == (result.code, package.exists()), result
    from_package = helm("template", "canary", package, "--namespace", "monitoring", folder=tmp_path)
    assert (RECORDED / "default.yaml").read_text() == comparable(from_package.stdout)
    listed = helm("show", "all", package, folder=tmp_path).stdout
    assert "sk-test" not in listed


def test_the_chart_installs_this_version(tmp_path: Path) -> None:
    """The ``appVersion`` is the version of the package."""
    assert f"appVersion: {__version__}\n" in helm("show", "chart", CHART, folder=tmp_path).stdout
