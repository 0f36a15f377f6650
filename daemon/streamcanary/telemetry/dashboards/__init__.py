"""The Grafana dashboards: JSON that ``tools/docs/dashboards`` generates, part of the package.

Printing them needs neither Grafana's SDK nor a network.
"""

import json
from importlib.resources import files

from msgspec import Struct


class Dashboard(Struct, frozen=True):
    """A dashboard: the name of its file, its title and description, and its JSON for Grafana's import."""

    name: str
    title: str
    description: str
    text: str


def load_dashboards() -> dict[str, Dashboard]:
    """Return the dashboards by name, sorted."""
    found = sorted(
        (file.name.removesuffix(".json"), file.read_text(encoding="utf-8"))
        for file in files(__name__).iterdir()
        if file.name.endswith(".json")
    )
    return {name: _parse(name, text) for name, text in found}


def _parse(name: str, text: str) -> Dashboard:
    content = json.loads(text)
    return Dashboard(name, content["title"], content["description"], text)
