"""What the defaults in ``values.yaml`` of the chart streamcanary-sidecar do not show of the types of its values."""

from typing import Final

from .schema import (
    IMAGE,
    LABEL,
    LOG,
    MOUNTS,
    NAME,
    OBJECTS,
    PROBE,
    PROMETHEUS_DURATION,
    RESOURCES,
    RULE_GROUPS,
    SECRET_KEY,
    TEXTS,
    VARIABLES,
    Refinements,
)

REFINEMENTS: Final[Refinements] = {
    **IMAGE,
    **LOG,
    "nameOverride": LABEL,
    "commonLabels": TEXTS,
    "replicasHint": {"minimum": 0, "maximum": 10000},
    "otlp.endpoint": {"pattern": "^(https?://[^\\s]+)?$"},
    "existingConfigMap": NAME,
    "secret.existing": NAME,
    "metrics.tokenSecret.name": NAME,
    "metrics.tokenSecret.key": SECRET_KEY,
    "web.port": {"minimum": 1024, "maximum": 65535},
    "podMonitor.labels": TEXTS,
    "podMonitor.matchLabels": TEXTS,
    "podMonitor.interval": PROMETHEUS_DURATION,
    "podMonitor.scrapeTimeout": PROMETHEUS_DURATION,
    "prometheusRule.labels": TEXTS,
    "prometheusRule.groups": RULE_GROUPS,
    "resources": RESOURCES,
    "livenessProbe": PROBE,
    "extraEnv": VARIABLES,
    "extraEnvFrom": OBJECTS,
    "extraVolumeMounts": MOUNTS,
}
