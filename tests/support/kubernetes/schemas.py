"""kubeconform: manifests checked against the JSON Schemas of Kubernetes, without a cluster or a network."""

import functools
import importlib.resources
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml
from msgspec import Struct

from support.programs.required_tools import require_tool

_WITHIN = 60.0
_PACKAGE = "kubernetes_validate"
_VERSION = "1.36.0"
"""Of the schemas: the minor version of the API server in ``tools/versions.py``, whose patches change no field."""


class Checked(Struct, frozen=True):
    """A manifest: its ``kind`` and ``name``, and the problems found, none if it is valid."""

    kind: str
    name: str
    problems: tuple[str, ...] = ()


def check_manifests(manifests: str, *, skip_kinds: Sequence[str] = (), folder: Path | None = None) -> list[Checked]:
    """Return the result for each document in ``manifests`` (YAML), in the order in which kubeconform finishes.

    A field that Kubernetes does not know is a problem, as is a kind without a schema, unless it is in ``skip_kinds``
    (``PodMonitor``) or ``folder`` has a schema for it, as ``podmonitor-monitoring-v1.json``. Skipped documents are not
    returned.
    """
    with tempfile.TemporaryDirectory() as schemas:
        _write_schemas(manifests, Path(schemas))
        locations = [f"{place}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json" for place in (schemas, folder) if place]
        command = [
            *(str(require_tool("kubeconform")), "-strict", "-output=json", "-verbose"),
            *(f"-schema-location={location}" for location in locations),
            *([f"-skip={','.join(skip_kinds)}"] if skip_kinds else []),
        ]
        result = subprocess.run(command, input=manifests, capture_output=True, text=True, timeout=_WITHIN, check=False)
    assert result.stdout, result.stderr
    return [
        Checked(found["kind"], found["name"], _problems(found))
        for found in json.loads(result.stdout)["resources"]
        if found["status"] != "statusSkipped"
    ]


def _problems(found: dict) -> tuple[str, ...]:
    if found["status"] == "statusValid":
        return ()
    # `validationErrors` names only the outermost place; the message lists all, the outer ones without a reason.
    details = [part.strip() for part in found["msg"].split("- at ")[1:]]
    return tuple(detail for detail in details if not detail.endswith(": validation failed")) or (found["msg"],)


def _write_schemas(manifests: str, folder: Path) -> None:
    """Write the schema of each kind in ``manifests`` that the package has.

    The package's files refer to ``/api/_definitions.json``, a place at which kubeconform would read a file: here each
    schema contains the definitions.
    """
    for document in yaml.safe_load_all(manifests):
        if not isinstance(document, dict):
            continue
        group, _, version = str(document.get("apiVersion")).rpartition("/")
        suffix = "-".join(part for part in (group.partition(".")[0], version) if part)
        name = f"{str(document.get('kind')).lower()}-{suffix}.json"
        if (source := _package() / name).is_file():
            schema = json.loads(source.read_text().replace('"/api/_definitions.json#', '"#'))
            del schema["$id"]
            (folder / name).write_text(json.dumps(schema | {"$defs": _definitions()}))


@functools.cache
def _definitions() -> dict:
    definitions: dict = json.loads((_package() / "_definitions.json").read_text())["$defs"]
    return definitions


def _package() -> Path:
    folder = Path(str(importlib.resources.files(_PACKAGE))) / "kubernetes-json-schema" / f"v{_VERSION}-local-strict"
    assert folder.is_dir(), f"kubernetes-validate has no schemas of Kubernetes {_VERSION}: {folder}"
    return folder
