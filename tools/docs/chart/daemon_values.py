"""What the defaults in ``values.yaml`` of the chart streamcanary do not show of the types of its values."""

from typing import Any, Final

from .schema import IMAGE, LOG, MOUNTS, NAMED_OBJECTS, OBJECTS, PROMETHEUS_DURATION, RULE_GROUPS, TEXTS, Refinements

_COUNT: Final[dict[str, Any]] = {"type": ["integer", "string"], "pattern": "^([0-9]+%?)?$", "minimum": 0}
_MONITORS: Final = ("podMonitor", "serviceMonitor")

REFINEMENTS: Final[Refinements] = {
    **IMAGE,
    **LOG,
    "commonLabels": TEXTS,
    "image.pullSecrets": NAMED_OBJECTS,
    "replicas": {"minimum": 0},
    "reload": {"enum": ["hot", "checksum"]},
    "check.podAnnotations": TEXTS,
    "check.timeoutSeconds": {"minimum": 10},
    "secret.data": TEXTS,
    "secret.env": {"items": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}},
    "web.host": {"minLength": 1},
    "web.port": {"minimum": 1024, "maximum": 65535},
    "web.tokenSecret.key": {"minLength": 1},
    "web.allowedHosts": {"items": {"type": "string"}},
    "service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "service.annotations": TEXTS,
    "persistence.accessModes": {"items": {"type": "string"}, "minItems": 1},
    "persistence.size": {"pattern": "^[0-9]+(\\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"},
    "persistence.annotations": TEXTS,
    "serviceAccount.annotations": TEXTS,
    "podAnnotations": TEXTS,
    "podLabels": TEXTS,
    "terminationGracePeriodSeconds": {"minimum": 11},  # the daemon stops within 10 s
    "nodeSelector": TEXTS,
    "tolerations": OBJECTS,
    "topologySpreadConstraints": {"items": {"type": "object", "required": ["topologyKey", "whenUnsatisfiable"]}},
    "networkPolicy.ingressFrom": OBJECTS,
    "networkPolicy.extraEgress": OBJECTS,
    "podDisruptionBudget.minAvailable": _COUNT,
    "podDisruptionBudget.maxUnavailable": _COUNT,
    "prometheusRule.labels": TEXTS,
    "prometheusRule.groups": RULE_GROUPS,
    "dashboards.labels": TEXTS,
    "dashboards.annotations": TEXTS,
    "extraEnv": NAMED_OBJECTS,
    "extraEnvFrom": OBJECTS,
    "extraVolumes": NAMED_OBJECTS,
    "extraVolumeMounts": MOUNTS,
    "extraObjects": {"items": {"type": ["object", "string"]}},
    **{f"{monitor}.labels": TEXTS for monitor in _MONITORS},
    **{f"{monitor}.{name}": PROMETHEUS_DURATION for monitor in _MONITORS for name in ("interval", "scrapeTimeout")},
    **{f"{monitor}.{name}": OBJECTS for monitor in _MONITORS for name in ("relabelings", "metricRelabelings")},
}
