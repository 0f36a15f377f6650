"""The Dockerfile is what Kubernetes and the chart rely on, and the build needs nothing else of the repository."""

import re
from fnmatch import fnmatch

import pytest
import yaml

from streamcanary.web.config import WebConfig
from support.programs.image import ROOT, Dockerfile


@pytest.fixture
def dockerfile() -> Dockerfile:
    return Dockerfile.read()


def test_the_image_runs_as_a_numeric_user(dockerfile: Dockerfile):
    """The user is numeric and not root, as ``runAsNonRoot`` requires, and owns the folder of the store."""
    user, group = dockerfile.user
    assert (True, True) == (user >= 10000, group >= 10000)
    owned = [arguments for arguments in dockerfile.all("COPY") if f"--chown={user}:{group}" in arguments]
    assert [True] == [arguments.endswith(" /var/lib/streamcanary") for arguments in owned]


def test_the_chart_runs_the_image_as_its_user(dockerfile: Dockerfile):
    """User and group of the chart are those of the image, to whom the folder of the store belongs."""
    context = yaml.safe_load((ROOT / "helm" / "streamcanary" / "values.yaml").read_text())["podSecurityContext"]
    assert dockerfile.user == (context["runAsUser"], context["fsGroup"])


def test_the_image_needs_no_shell(dockerfile: Dockerfile):
    """What runs at the start and at the build is in exec form, and SIGTERM reaches the daemon itself."""
    assert ["/opt/streamcanary/bin/streamcanary"] == dockerfile.exec_form("ENTRYPOINT")
    assert ["run", "-c", "/etc/streamcanary/streamcanary.yaml"] == dockerfile.exec_form("CMD")
    assert ["SIGTERM"] == dockerfile.all("STOPSIGNAL")
    assert ["/source/tools/image/build.sh", "/source", "/opt/streamcanary"] == dockerfile.exec_form("RUN")


def test_all_steps_of_the_build_are_in_one_script(dockerfile: Dockerfile):
    """There is one ``RUN``, so that the test that executes the script executes all of the build."""
    assert 1 == len(dockerfile.all("RUN"))


def test_both_stages_have_the_same_base(dockerfile: Dockerfile):
    """The interpreter that builds the environment is the one that runs it; an argument pins it."""
    assert ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"] == dockerfile.all("FROM")
    assert "PYTHON_IMAGE=python:3.13-slim" == dockerfile.all("ARG")[0]


def test_the_image_has_the_labels_of_oci(dockerfile: Dockerfile):
    """The labels name version, origin, base and time of the build, which the release sets."""
    labels = set(re.findall(r"org\.opencontainers\.image\.([\w.]+)=", " ".join(dockerfile.all("LABEL"))))
    assert {
        "title",
        "description",
        "licenses",
        "vendor",
        "version",
        "revision",
        "created",
        "source",
        "url",
        "documentation",
        "base.name",
        "base.digest",
    } == labels


def test_the_image_exposes_the_port_of_the_daemon(dockerfile: Dockerfile):
    """The port is the default of the configuration."""
    assert [str(WebConfig().port)] == dockerfile.all("EXPOSE")


@pytest.mark.parametrize(
    "path", ["pyproject.toml", "requirements.lock", "requirements-build.lock", "daemon", "README.md"]
)
def test_the_build_context_contains_what_the_script_reads(path: str):
    """``.dockerignore`` excludes everything, and lets through what the script reads."""
    first, *patterns = [line for line in _dockerignore() if not line.startswith("#")]
    assert "*" == first
    assert f"!{path}" in patterns


@pytest.mark.parametrize("path", [".git", ".venv", "tests", "docs", ".env", "requirements-dev.lock"])
def test_the_build_context_contains_nothing_else(path: str):
    """Neither the tests nor a file with secrets beside the sources gets into the build."""
    assert not any(fnmatch(path, pattern[1:]) for pattern in _dockerignore() if pattern.startswith("!"))


def _dockerignore() -> list[str]:
    return (ROOT / ".dockerignore").read_text().splitlines()
