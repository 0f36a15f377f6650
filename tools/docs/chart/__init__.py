"""Generates the parts of the Helm chart that follow from the code or from its ``values.yaml``.

``README.md`` gets the table of values, ``values.schema.json`` their types and the schema of the configuration,
``files/`` the Grafana dashboards and the built-in rules.
"""

import json
from pathlib import Path
from typing import Final

from ..dashboards import dashboard_texts
from ..page import replace_part
from .rules import builtin_rules
from .schema import values_schema
from .values import read_values, values_table

CHART: Final = "helm/streamcanary"


def chart_files(root: Path) -> dict[str, str]:
    """Return the generated files of the chart by their path below ``root``.

    Raises:
        Stale: if a value has no description, or the README no marker.
    """
    values = read_values((root / CHART / "values.yaml").read_text(encoding="utf-8"))
    readme = (root / CHART / "README.md").read_text(encoding="utf-8")
    return {
        f"{CHART}/README.md": replace_part(f"{CHART}/README.md", readme, "values", values_table(values)),
        f"{CHART}/values.schema.json": json.dumps(values_schema(values), indent=1, ensure_ascii=False) + "\n",
        f"{CHART}/files/rules.yaml": builtin_rules(),
        **{f"{CHART}/files/dashboards/{name}.json": text for name, text in dashboard_texts().items()},
    }
