"""Configurations as they are written: one fleet, and what a test says of alerts."""

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
    """Load :data:`BASE` with ``alerts``, which begin in line 6."""
    path = folder / "c.yaml"
    path.write_text(BASE_YAML + alerts)
    return load(path, environ)


def config_errors(folder: Path, alerts: str, **environ: str) -> list[str]:
    """Return what is wrong, without the path of the file."""
    with pytest.raises(ConfigInvalid) as caught:
        load_settings(folder, alerts, **environ)
    return [str(problem).removeprefix(f"{folder}/c.yaml:") for problem in caught.value.problems]


def config_warnings(folder: Path, alerts: str) -> list[str]:
    """Return what may be meant otherwise, without the path of the file and the key ``alerts``."""
    told = load_settings(folder, alerts).warnings
    return [str(problem).removeprefix(f"{folder}/c.yaml:").replace(" alerts.", " ", 1) for problem in told]


def rule_yaml(text: str, name: str = "X") -> str:
    """Write one rule, in line 6 from column 11 on."""
    return f"  rules: {{{name}: {text}}}\n"
