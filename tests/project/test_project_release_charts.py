"""The charts of a release: their versions, and the names of the repository that publishes them."""

import json
import tarfile
from pathlib import Path

import pytest
from tools.release.charts import chart_version, package_charts, package_component
from tools.release.command import CheckFailed
from tools.release.version import _VERSION as PYTHON_VERSION

from support.programs.helm import helm, objects_of
from support.programs.required_tools import require_tool
from support.programs.sidecar_chart import kustomize, sidecar_of

ROOT = Path(__file__).parents[2]
VERSIONS = {"0.2.0": "0.2.0", "0.2.0a1": "0.2.0-a.1", "0.2.0b12": "0.2.0-b.12", "0.2.0rc1": "0.2.0-rc.1"}


@pytest.mark.parametrize(("version", "expected"), VERSIONS.items())
def test_the_version_of_a_chart(version: str, expected: str) -> None:
    """A pre-release has the form that Helm accepts; the release check accepts the form of Python packages."""
    assert (True, expected) == (bool(PYTHON_VERSION.fullmatch(version)), chart_version(version))


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the packages of a pre-release by a repository whose owner is written with capitals."""
    monkeypatch.setenv("HELM_CACHE_HOME", str(tmp_path / "cache"))
    return package_charts(ROOT, "0.2.0rc1", "Acme/Canary", tmp_path / "charts", require_tool("helm"))


@pytest.mark.real("helm")
def test_helm_packages_a_pre_release(packages: list[Path], tmp_path: Path) -> None:
    """Each chart has its package; the image that the chart runs has the tag of the Python version, in lower case."""
    assert [
        ("streamcanary-0.2.0-rc.1.tgz", True),
        ("streamcanary-sidecar-0.2.0-rc.1.tgz", True),
    ] == [(path.name, path.exists()) for path in packages]
    rendered = helm("template", "canary", packages[0], folder=tmp_path)
    [deployment] = [each for each in objects_of(rendered.stdout) if each["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert "ghcr.io/acme/canary:0.2.0rc1" == container["image"]


@pytest.mark.real("helm")
def test_a_package_names_the_repository_that_publishes_it(packages: list[Path]) -> None:
    """Values, README and metadata have its image and its address, and no file those of another one."""
    for path in packages:
        with tarfile.open(path) as archive:
            texts = {
                each.name: (archive.extractfile(each) or pytest.fail()).read() for each in archive if each.isfile()
            }
        assert {} == {name: text for name, text in texts.items() if b"streamcanary/streamcanary:" in text}
        assert [] == [name for name, text in texts.items() if b"ghcr.io/streamcanary/" in text]
        name = path.name.partition("-0.2")[0]
        assert b"https://github.com/Acme/Canary" in texts[f"{name}/Chart.yaml"]
        assert b"ghcr.io/acme/canary" in texts[f"{name}/README.md"]


@pytest.mark.parametrize("repository", ["streamcanary", "a/b/c", "a/b;c", ""])
def test_a_repository_has_an_owner_and_a_name(repository: str, tmp_path: Path) -> None:
    """Anything else would get into files and commands."""
    with pytest.raises(CheckFailed, match="is not the OWNER/NAME of a repository"):
        package_charts(ROOT, "0.2.0", repository, tmp_path)


@pytest.mark.real("kubectl")
def test_the_kustomize_component_can_be_used_from_its_archive(tmp_path: Path) -> None:
    """It adds the image of the release, and the same files give the same archive."""
    archive = package_component(ROOT, "0.2.0rc1", "Acme/Canary", tmp_path)
    assert ("streamcanary-kustomize-0.2.0rc1.tar.gz", archive.read_bytes()) == (
        archive.name,
        package_component(ROOT, "0.2.0rc1", "Acme/Canary", tmp_path / "again").read_bytes(),
    )
    with tarfile.open(archive) as members:
        members.extractall(tmp_path, filter="data")
    template = {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"name": "shop", "image": "shop"}]}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop", "labels": {"streamcanary": "sidecar"}},
        "spec": {"selector": {"matchLabels": {"app": "shop"}}, "template": template},
    }
    (tmp_path / "deployment.yaml").write_text(json.dumps(deployment))
    kustomization = {"resources": ["deployment.yaml"], "components": ["streamcanary-kustomize"]}
    (tmp_path / "kustomization.yaml").write_text(json.dumps(kustomization))
    assert "ghcr.io/acme/canary:0.2.0rc1" == sidecar_of(kustomize(tmp_path))["image"]
