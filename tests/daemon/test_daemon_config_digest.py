"""The digest by which replicas know that they have the same configuration."""

from pathlib import Path

import pytest

from streamcanary.app.config_digest import config_digest
from streamcanary.settings import load

CONFIG = """\
targets:
  sim: {base_url: http://127.0.0.1:1/v1, api_key: "${KEY:-sk-first}", price: free}
canaries:
  chat: {target: sim, model: m, every: 30s}
  other: {target: sim, model: m, every: 30s}
alerts:
  receivers: {hook: {type: webhook, url: "http://127.0.0.1:1/hook", secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw}}
  routes: [{receivers: [hook]}]
budget: {usd_per_day: 5}
"""


def digest(folder: Path, text: str = CONFIG, **environ: str) -> str:
    """Return the digest of a configuration."""
    file = folder / "streamcanary.yaml"
    file.write_text(text)
    return config_digest(load(file, environ))


@pytest.mark.parametrize(
    "text",
    [
        CONFIG + "store: {keep: 1d}\n",
        CONFIG + "web: {port: 9999}\n",
        CONFIG + "telemetry: {prometheus: false}\n",
        CONFIG.replace("5}", "5.0}") + "# a comment\n",
    ],
)
def test_what_is_the_business_of_one_replica_does_not_count(tmp_path: Path, text: str) -> None:
    """Web server, telemetry, store and the form of the file may differ."""
    assert digest(tmp_path) == digest(tmp_path, text)


def test_a_secret_that_is_rotated_does_not_count(tmp_path: Path) -> None:
    """Replicas get a new key at different times."""
    assert digest(tmp_path) == digest(tmp_path, KEY="sk-second")


@pytest.mark.parametrize(
    "text",
    [
        CONFIG.replace("every: 30s", "every: 31s", 1),
        CONFIG.replace("usd_per_day: 5", "usd_per_day: 6"),
        CONFIG.replace("routes: [{receivers: [hook]}]", "group_by: [alert]"),
        CONFIG.replace("127.0.0.1:1/v1", "127.0.0.1:2/v1"),
        "instance: other\n" + CONFIG,
    ],
)
def test_what_is_watched_and_notified_counts(tmp_path: Path, text: str) -> None:
    """Targets, canaries, alerts, budget and instance are the same at all replicas that share the work."""
    assert digest(tmp_path) != digest(tmp_path, text)
