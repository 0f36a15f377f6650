"""Configuration files as text: fixed targets and canaries, with the ``alerts:`` of a test."""

from pathlib import Path

import pytest

from streamcanary.settings import ConfigInvalid, Settings, load

BASE_YAML = """\
targets: {t: {base_url: "http://127.0.0.1:9/v1", api_key: none}}
canaries:
  a: {target: t, model: m, every: 30s, labels: {tier: prod}}
  b: {target: t, model: m, every: 30s, labels: {tier: test}, slo: {first_token: 1s}}
alerts:
"""
WEBHOOK_YAML = '{type: webhook, url: "http://127.0.0.1:9/x", secret: whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0%s}'
RECEIVERS_YAML = f"  receivers: {{hook: {WEBHOOK_YAML % ''}, mail: {WEBHOOK_YAML % ''}}}\n"


def load_settings(folder: Path, alerts: str, **environ: str) -> Settings:
    """Load :data:`BASE_YAML` followed by ``alerts``, which start in line 6."""
    path = folder / "c.yaml"
    path.write_text(BASE_YAML + alerts)
    return load(path, environ)


def config_errors(folder: Path, alerts: str, **environ: str) -> list[str]:
    """Return the config errors, without the path of the file."""
    with pytest.raises(ConfigInvalid) as caught:
        load_settings(folder, alerts, **environ)
    return [str(problem).removeprefix(f"{folder}/c.yaml:") for problem in caught.value.problems]


def config_warnings(folder: Path, alerts: str) -> list[str]:
    """Return the config warnings, without the path of the file and the key ``alerts``."""
    warnings = load_settings(folder, alerts).warnings
    return [str(problem).removeprefix(f"{folder}/c.yaml:").replace(" alerts.", " ", 1) for problem in warnings]


def rule_yaml(text: str, name: str = "X") -> str:
    """Return the YAML of one rule; it starts in line 6, column 11."""
    return f"  rules: {{{name}: {text}}}\n"
