"""Texts stay texts: names that YAML would read as numbers or booleans, and values that contain YAML."""

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from support.kubernetes.schemas import check_manifests
from support.programs.helm import CHART, VALUES, helm, merged, objects_of, template, text_values

pytestmark = pytest.mark.real("helm")

OPERATOR_KINDS = ("PodMonitor", "ServiceMonitor", "PrometheusRule")
INJECTION = "x\nhostNetwork: true\n        hostNetwork: true"


TEXTS = list(text_values(json.loads((CHART / "values.schema.json").read_text())))


def everything() -> dict[str, Any]:
    """Return values with which every template renders something."""
    values: dict[str, Any] = YAML(typ="safe", pure=True).load(VALUES["everything"])
    return values


def with_value(values: dict[str, Any], path: tuple[str, ...], text: str) -> dict[str, Any]:
    """Return ``values`` with another value at ``path``."""
    changed: Any = text
    for name in reversed(path):
        changed = {name: changed}
    return merged(values, changed)


def test_there_are_texts() -> None:
    """The walk over the schema finds values of all depths."""
    assert {("priorityClassName",), ("image", "tag"), ("web", "tokenSecret", "key")} <= set(TEXTS)


@pytest.mark.parametrize("path", TEXTS, ids=".".join)
def test_no_value_injects_yaml(path: tuple[str, ...], tmp_path: Path) -> None:
    """A text with a line break and a key is refused."""
    result = template(tmp_path, values=with_value(everything(), path, INJECTION))
    assert (1, True) == (result.code, f"at '/{'/'.join(path)}'" in result.stderr), result.stderr


@pytest.mark.real("kubeconform")
@pytest.mark.parametrize("word", ["1e5", "on", "12345", "null"])
def test_a_name_that_looks_like_another_type(word: str, tmp_path: Path) -> None:
    """Each name may be such a word, and Kubernetes finds texts where it needs them."""
    existing = {name: path for path in TEXTS if (name := ".".join(path)) in NAMES}
    assert NAMES == set(existing)
    values = everything()
    for path in existing.values():
        values = with_value(values, path, word)
    values["config"]["targets"]["openai"] = {"api_key": "none"}
    values["image"]["pullSecrets"] = [{"name": word}]
    values["extraObjects"] = []
    file = tmp_path / "values.json"
    file.write_text(json.dumps(values))
    result = helm("template", f"a{word}", CHART, "--namespace", word, "--values", file, folder=tmp_path)
    assert (0, "") == (result.code, result.stderr)
    checked = check_manifests(result.stdout, skip_kinds=OPERATOR_KINDS)
    assert {} == {f"{each.kind}/{each.name}": each.problems for each in checked if each.problems}
    for metadata in (manifest["metadata"] for manifest in objects_of(result.stdout)):
        texts = [metadata["name"], metadata["namespace"], *metadata["labels"].values()]
        assert [] == [each for each in texts if not isinstance(each, str)]


NAMES = {
    "nameOverride",
    "image.tag",
    "secret.existing",
    "csi.driver",
    "csi.secretProviderClass",
    "web.tokenSecret.existing",
    "web.tokenSecret.key",
    "persistence.existingClaim",
    "serviceAccount.name",
    "priorityClassName",
    "dashboards.namespace",
}


@pytest.mark.parametrize("release", ["1234", "1e5"])
def test_a_release_whose_name_begins_with_a_digit(release: str, tmp_path: Path) -> None:
    """The name of a Service begins with a letter, so another one has to be chosen."""
    result = helm("template", release, CHART, folder=tmp_path)
    expected = (
        f"- the Service would have the name {release}-streamcanary, and that of a Service begins with a letter; "
        "set fullnameOverride"
    )
    assert (1, True) == (result.code, expected in result.stderr), result.stderr
    chosen = helm("template", release, CHART, "--set", "fullnameOverride=canary", folder=tmp_path)
    assert (0, True) == (chosen.code, f'app.kubernetes.io/instance: "{release}"' in chosen.stdout)
