"""What tells the sidecars of several applications apart: the names of their objects, and the job of their metrics."""

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from support.alerting.fleets import Fleet
from support.programs.helm import helm, object_of, objects_of, rendered, template
from support.programs.promtool import firing_times
from support.programs.sidecar_chart import VALUES, sidecar_of

pytestmark = pytest.mark.real("helm")

LIBRARY = "streamcanary-sidecar"


def copy_application(application: Path, chart: Path, name: str = "shop") -> Path:
    """Copy the chart of the application, without the library's folder around it, under another name."""
    for path in (*application.glob("*.yaml"), *application.glob("templates/*"), *application.glob("charts/*")):
        target = chart / path.relative_to(application)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    edit(chart / "Chart.yaml", name=name)
    return chart


def edit(path: Path, **entries: Any) -> None:
    """Set entries of a YAML file."""
    yaml = YAML(typ="safe", pure=True)
    yaml.dump(yaml.load(path) | entries, path)


def test_the_name_of_the_dependency_can_be_another_one(application: Path, tmp_path: Path) -> None:
    """With an ``alias``, the values are below that name, and the result is the same."""
    before = template(tmp_path, chart=application).stdout
    chart = copy_application(application, tmp_path / "shop")
    edit(chart / "Chart.yaml", dependencies=[{"name": LIBRARY, "version": ">=0.0.0-0", "alias": "canary"}])
    path = chart / "values.yaml"
    path.write_text(path.read_text().replace("streamcanary-sidecar:", "canary:"))
    assert objects_of(before) == objects_of(template(tmp_path, chart=chart).stdout)


def test_a_chart_without_the_dependency_is_told_so(application: Path, tmp_path: Path) -> None:
    """A chart that gets the templates from its parent, and not as its own dependency, is refused with what to do."""
    parent = tmp_path / "parent"
    child = parent / "charts" / "child"
    (child / "templates").mkdir(parents=True)
    (parent / "Chart.yaml").write_text("apiVersion: v2\nname: parent\nversion: 1.0.0\n")
    (child / "Chart.yaml").write_text("apiVersion: v2\nname: child\nversion: 1.0.0\n")
    (child / "templates" / "x.yaml").write_text('{{ include "streamcanary-sidecar.objects" . }}\n')
    [package] = (application / "charts").iterdir()
    (parent / "charts" / package.name).write_bytes(package.read_bytes())
    result = helm("template", "x", parent, folder=tmp_path)
    expected = (
        "the chart child uses templates of streamcanary-sidecar: add it to the dependencies in its own Chart.yaml"
    )
    assert (1, True) == (result.code, expected in result.stderr), result.stderr


def test_a_second_dependency_on_the_library_is_refused(application: Path, tmp_path: Path) -> None:
    """A pod has one sidecar, so the values of a second alias would be ignored."""
    chart = copy_application(application, tmp_path / "shop")
    dependency = {"name": LIBRARY, "version": ">=0.0.0-0"}
    edit(chart / "Chart.yaml", dependencies=[dependency, dependency | {"alias": "second"}])
    result = template(tmp_path, chart=chart)
    expected = (
        "the chart shop depends on streamcanary-sidecar 2 times (second, streamcanary-sidecar), and its pods have one "
        "sidecar: remove all but one; config.canaries may have several"
    )
    assert (1, True) == (result.code, expected in result.stderr), result.stderr


def umbrella(application: Path, folder: Path) -> Path:
    """Return a chart with two applications, of which each has the sidecar."""
    chart = folder / "umbrella"
    for name in ("shop", "search"):
        copy_application(application, chart / "charts" / name, name)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: umbrella\nversion: 1.0.0\n")
    return chart


def test_the_applications_of_a_release_have_objects_of_their_own(application: Path, tmp_path: Path) -> None:
    """The subcharts of one release share its name: the names of ConfigMap, instance and service have the chart."""
    objects = rendered(tmp_path, chart=umbrella(application, tmp_path))
    configs = {each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "ConfigMap"}
    assert {"canary-shop-streamcanary-sidecar", "canary-search-streamcanary-sidecar"} == configs.keys()
    assert 2 == len({json.dumps(data) for data in configs.values()})
    for deployment in (each for each in objects if each["kind"] == "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        [config] = [each["configMap"]["name"] for each in pod["volumes"] if each["name"] == "streamcanary-config"]
        [service] = [each["value"] for each in pod["initContainers"][-1]["env"] if each["name"] == "OTEL_SERVICE_NAME"]
        assert config == service


def test_the_monitor_of_a_subchart_needs_labels(application: Path, tmp_path: Path) -> None:
    """The label of the release is one of all applications of an umbrella chart."""
    own = {
        "otlp": {"endpoint": ""},
        "metrics": {"scrape": True, "tokenSecret": {"name": "token"}},
        "podMonitor": {"enabled": True},
    }
    result = template(tmp_path, values={"shop": {LIBRARY: own}}, chart=umbrella(application, tmp_path))
    expected = (
        "- podMonitor.matchLabels is not set: the default matches the pods of all charts of the release; write labels "
        "that only pods of the chart shop have"
    )
    assert (1, True) == (result.code, expected in result.stderr), result.stderr


def test_long_names_stay_different(application: Path, tmp_path: Path) -> None:
    """A name of more than 63 characters is cut, and gets a part that depends on the whole."""
    chart = copy_application(application, tmp_path / "shop")
    names = []
    for release in (
        "a-very-long-name-of-a-release-of-a-shop-in-europe",
        "a-very-long-name-of-a-release-of-a-shop-in-asia",
    ):
        result = helm("template", release, chart, folder=tmp_path)
        [name] = [each["metadata"]["name"] for each in objects_of(result.stdout) if each["kind"] == "ConfigMap"]
        assert len(name) <= 63
        names.append(name)
    assert 2 == len(set(names))


def test_a_release_with_the_name_of_the_chart_has_it_once(application: Path, tmp_path: Path) -> None:
    """The object of the release ``shop`` of the chart ``shop`` is ``shop-streamcanary-sidecar``."""
    result = helm("template", "shop", application, folder=tmp_path)
    assert (
        "shop-streamcanary-sidecar"
        == object_of(objects_of(result.stdout), "ConfigMap", "shop-streamcanary-sidecar")["metadata"]["name"]
    )


def test_labels_of_an_object_replace_those_of_all(application: Path, tmp_path: Path) -> None:
    """Each label is there once: that of the object, that of all objects, or that of the chart."""
    values = {
        "commonLabels": {"team": "shop", "app.kubernetes.io/component": "own"},
        "prometheusRule": {"enabled": True, "labels": {"team": "llm"}},
    }
    result = template(tmp_path, values={LIBRARY: values}, chart=application)
    assert (0, "") == (result.code, result.stderr)
    objects = [each for each in YAML(typ="safe", pure=True).load_all(result.stdout) if each]  # refuses duplicates
    labels = [
        object_of(objects, kind, "canary-shop-streamcanary-sidecar")["metadata"]["labels"]
        for kind in ("ConfigMap", "PrometheusRule")
    ]
    assert [("shop", "own"), ("llm", "own")] == [(each["team"], each["app.kubernetes.io/component"]) for each in labels]


@pytest.mark.real("promtool")
def test_the_rules_are_about_the_pods_of_the_application(application: Path, tmp_path: Path) -> None:
    """An outage of all pods fires ``FleetFailing``, scraped or over OTLP, also if another application is healthy.

    The outage of another application in the same namespace does not fire it.
    """
    objects = rendered(tmp_path, "--values", VALUES["scraped"], chart=application)
    spec = object_of(objects, "PrometheusRule", "canary-shop-streamcanary-sidecar")["spec"]
    env = {each["name"]: each.get("value") for each in sidecar_of(objects)["env"]}
    own = f"monitoring/{env['OTEL_SERVICE_NAME']}"  # OTLP: service.namespace and service.name
    assert own == f"monitoring/{object_of(objects, 'PodMonitor', env['OTEL_SERVICE_NAME'])['metadata']['name']}"

    def series(job: str, *, fails: bool, members: int = 20) -> list[dict[str, str]]:
        result = lambda _member, due: "bad" if fails and due >= 900 else "ok"  # noqa: E731 - read with its use
        return Fleet(members=members, every=30.0, replicas=members, result=result, job=job).series(1800)

    other = "monitoring/canary-search-streamcanary-sidecar"
    cases = {
        "own": series(own, fails=True, members=4) + series(other, fails=False, members=96),
        "other": series(own, fails=False) + series(other, fails=True),
    }
    found = firing_times(tmp_path, json.dumps(spec), "FleetFailing", cases)
    assert [True, False] == [bool(found.get(case)) for case in cases]
