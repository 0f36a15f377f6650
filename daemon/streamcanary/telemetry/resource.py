"""Detects the attributes of the OpenTelemetry resource, which identifies this process on every signal.

In Kubernetes the Downward API provides the identity of the pod as environment variables:

===================  ===============================================
``POD_NAME``         ``k8s.pod.name``
``POD_NAMESPACE``    ``k8s.namespace.name`` and ``service.namespace``
``POD_UID``          ``k8s.pod.uid``
``NODE_NAME``        ``k8s.node.name``
``CONTAINER_NAME``   ``k8s.container.name``
===================  ===============================================

They are read only if ``POD_NAME`` is set: a ``NODE_NAME`` alone may come from any program. The Downward API knows no
name of a cluster, a Deployment or an environment, so ``CLUSTER_NAME``, ``DEPLOYMENT_NAME`` and
``DEPLOYMENT_ENVIRONMENT`` are not read. These attributes come from ``OTEL_RESOURCE_ATTRIBUTES`` or
``telemetry.resource``.

Names: https://opentelemetry.io/docs/specs/semconv/resource/
"""

from collections.abc import Mapping

from streamcanary.model import names

_POD_VARIABLE = "POD_NAME"
_FROM_DOWNWARD_API = {
    names.K8S_NAMESPACE: "POD_NAMESPACE",
    names.K8S_POD: _POD_VARIABLE,
    names.K8S_POD_UID: "POD_UID",
    names.K8S_NODE: "NODE_NAME",
    names.K8S_CONTAINER: "CONTAINER_NAME",
    names.SERVICE_NAMESPACE: "POD_NAMESPACE",
}


def resource_attributes(environ: Mapping[str, str], *, version: str, host: str) -> dict[str, str]:
    """Return the detected attributes of this process, before variables and ``telemetry.resource`` override them.

    ``service.instance.id`` is stable over restarts, so that series continue: ``{namespace}.{pod}.{container}`` in
    Kubernetes (the known parts), else the ``host`` name. Two daemons on one host need different values in
    ``telemetry.resource`` or ``OTEL_RESOURCE_ATTRIBUTES``.
    """
    detected: dict[str, str] = {}
    if environ.get(_POD_VARIABLE):
        detected = {name: environ[variable] for name, variable in _FROM_DOWNWARD_API.items() if environ.get(variable)}
    return {
        names.SERVICE_NAME: "streamcanary",
        names.SERVICE_VERSION: version,
        names.SERVICE_INSTANCE_ID: _instance_id(detected) or host,
        **detected,
    }


def _instance_id(detected: Mapping[str, str]) -> str:
    parts = (detected.get(name) for name in (names.K8S_NAMESPACE, names.K8S_POD, names.K8S_CONTAINER))
    return ".".join(part for part in parts if part)
