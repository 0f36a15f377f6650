"""Labels: each once, those by which the chart selects fixed, those of one object before those of all."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from support.programs.helm import MINIMAL, merged, object_of, template

pytestmark = pytest.mark.real("helm")


def render_strictly(folder: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects of a release; a key that is there twice is an error."""
    result = template(folder, values=merged(MINIMAL, values))
    assert (0, "") == (result.code, result.stderr)
    return [each for each in YAML(typ="safe", pure=True).load_all(result.stdout) if each]


def test_labels_of_an_object_replace_those_of_all(tmp_path: Path) -> None:
    """A label in both is that of the pod, of its check, of a monitor, or of a dashboard."""
    own = {"team": "llm", "helm.sh/chart": "ours"}
    values = {
        "commonLabels": {"team": "search", "tier": "prod"},
        "podLabels": own,
        "podMonitor": {"enabled": True, "labels": own},
        "prometheusRule": {"enabled": True, "labels": own},
        "dashboards": {"enabled": True, "labels": own},
    }
    objects = render_strictly(tmp_path, values)
    pods = (object_of(objects, "Deployment"), object_of(objects, "Job", "canary-streamcanary-check"))
    labelled = [each["spec"]["template"]["metadata"]["labels"] for each in pods]
    labelled += [object_of(objects, kind)["metadata"]["labels"] for kind in ("PodMonitor", "PrometheusRule")]
    labelled.append(object_of(objects, "ConfigMap", "canary-streamcanary-overview")["metadata"]["labels"])
    assert [("llm", "prod", "ours")] * 5 == [
        (labels["team"], labels["tier"], labels["helm.sh/chart"]) for labels in labelled
    ]
    assert "search" == object_of(objects, "Deployment")["metadata"]["labels"]["team"]


def test_the_selector_matches_the_pod(tmp_path: Path) -> None:
    """The labels of the selector are labels of the pod, whatever others there are."""
    deployment = object_of(
        render_strictly(tmp_path, {"commonLabels": {"a": "b"}, "podLabels": {"c": "d"}}), "Deployment"
    )
    selector, labels = (
        deployment["spec"]["selector"]["matchLabels"],
        deployment["spec"]["template"]["metadata"]["labels"],
    )
    assert selector.items() <= labels.items()


def test_a_label_that_looks_like_a_number_stays_text(tmp_path: Path) -> None:
    """Kubernetes accepts texts only."""
    labels = object_of(render_strictly(tmp_path, {"commonLabels": {"cost-centre": "1e5"}}), "Deployment")["metadata"]
    assert "1e5" == labels["labels"]["cost-centre"]
