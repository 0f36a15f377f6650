"""Detects the attributes of the OpenTelemetry resource, which identifies this process on every span and metric.

In Kubernetes the Downward API provides the identity of the pod as environment variables:

==========================  ===============================================
``POD_NAME``                ``k8s.pod.name``
``POD_NAMESPACE``           ``k8s.namespace.name`` and ``service.namespace``
``POD_UID``                 ``k8s.pod.uid``
``NODE_NAME``               ``k8s.node.name``
``CONTAINER_NAME``          ``k8s.container.name``
``DEPLOYMENT_NAME``         ``k8s.deployment.name``
``CLUSTER_NAME``            ``k8s.cluster.name``
``DEPLOYMENT_ENVIRONMENT``  ``deployment.environment.name``
==========================  ===============================================

Names: https://opentelemetry.io/docs/specs/semconv/resource/
"""

from collections.abc import Mapping

_FROM_ENVIRONMENT = {
    "k8s.cluster.name": "CLUSTER_NAME",
    "k8s.namespace.name": "POD_NAMESPACE",
    "k8s.pod.name": "POD_NAME",
    "k8s.pod.uid": "POD_UID",
    "k8s.node.name": "NODE_NAME",
    "k8s.container.name": "CONTAINER_NAME",
    "k8s.deployment.name": "DEPLOYMENT_NAME",
    "service.namespace": "POD_NAMESPACE",
    "deployment.environment.name": "DEPLOYMENT_ENVIRONMENT",
}


def resource_attributes(environ: Mapping[str, str], *, version: str, host: str) -> dict[str, str]:
    """Return the detected attributes of this process, before ``telemetry.resource`` overrides them.

    ``service.instance.id`` is stable over restarts, so that series continue: ``{namespace}.{pod}.{container}`` in
    Kubernetes (the known parts), else the ``host`` name. Two daemons on one host need different values in
    ``telemetry.resource``.
    """
    detected = {name: environ[variable] for name, variable in _FROM_ENVIRONMENT.items() if environ.get(variable)}
    return {
        "service.name": "streamcanary",
        "service.version": version,
        "service.instance.id": _instance_id(detected) or host,
        **detected,
    }


def _instance_id(detected: Mapping[str, str]) -> str | None:
    if "k8s.pod.name" not in detected:
        return None
    parts = (detected.get(name) for name in ("k8s.namespace.name", "k8s.pod.name", "k8s.container.name"))
    return ".".join(part for part in parts if part)
