"""Generates the parts of the Helm charts that follow from the code or from their ``values.yaml``.

``README.md`` gets the table of values, ``values.schema.json`` their types and the schema of the configuration,
``files/`` the Grafana dashboards, rules for Prometheus, and lists of keys: those that a
running daemon cannot change, and those of secrets.
"""

import json
from pathlib import Path
from typing import Final

from ..dashboards import dashboard_texts
from ..page import replace_part
from . import daemon_values, sidecar_values
from .restart_keys import restart_keys
from .rules import builtin_rules, fleet_prometheus_rule, fleet_rules
from .schema import Refinements, values_schema
from .secret_keys import secret_keys
from .values import read_values, values_table

CHART: Final = "helm/streamcanary"
SIDECAR_CHART: Final = "helm/streamcanary-sidecar"
COMPONENT: Final = "helm/kustomize"

FLEET_JOBS: Final = "FLEET_JOBS"
"""In the rules of the chart for sidecars: in its place, the template writes the jobs of the release."""


def chart_files(root: Path) -> dict[str, str]:
    """Return the generated files of the charts by their path below ``root``.

    Raises:
        Stale: if a value has no description, or a README no marker.
    """
    return {
        **_values_files(root, CHART, daemon_values.REFINEMENTS),
        **_values_files(root, SIDECAR_CHART, sidecar_values.REFINEMENTS),
        f"{CHART}/files/rules.yaml": builtin_rules(),
        f"{SIDECAR_CHART}/files/rules.yaml": fleet_rules(FLEET_JOBS),
        f"{COMPONENT}/monitoring/prometheusrule.yaml": fleet_prometheus_rule(),
        f"{CHART}/files/restart-keys.yaml": restart_keys(),
        f"{CHART}/files/secret-keys.yaml": secret_keys(),
        f"{SIDECAR_CHART}/files/secret-keys.yaml": secret_keys(),
        **{f"{CHART}/files/dashboards/{name}.json": text for name, text in dashboard_texts().items()},
    }


def _values_files(root: Path, chart: str, refinements: Refinements) -> dict[str, str]:
    source = f"{chart}/values.yaml"
    values = read_values((root / source).read_text(encoding="utf-8"), source)
    readme = (root / chart / "README.md").read_text(encoding="utf-8")
    schema = values_schema(values, refinements, Path(chart).name)
    return {
        f"{chart}/README.md": replace_part(f"{chart}/README.md", readme, "values", values_table(values)),
        f"{chart}/values.schema.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n",
    }
