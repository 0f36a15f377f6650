"""The pinned versions of the programs that the tests run, and the Go release that each of them needs."""

ALERTMANAGER = "v0.31.1"
"""The newest release that compiles: from v0.32 on the Go module lacks the files of the web UI."""
ALERTMANAGER_GO = (1, 24, 0)

PROMETHEUS = "v0.316.0"
"""Prometheus 3.16.0, also of promtool: its Go module is numbered v0.316.0."""
PROMETHEUS_GO = (1, 26, 7)

COLLECTOR = "v0.155.0"
"""The newest release of the OpenTelemetry Collector of which every used component is published as a Go module."""
COLLECTOR_STABLE = "v1.61.0"
"""The version of the same release for the Collector's modules that are past 1.0."""
COLLECTOR_GO = (1, 25, 0)

JAEGER = "v1.76.0"
"""The newest release in the old numbering of its Go module, in which Jaeger 2.13 is 1.76."""
JAEGER_GO = (1, 25, 0)

HELM = "v3.22.0"
HELM_GO = (1, 26, 0)

KUBECONFORM = "v0.8.0"
KUBECONFORM_GO = (1, 26, 0)

ACTIONLINT = "v1.7.12"
ACTIONLINT_GO = (1, 25, 0)

KUBERNETES = "v1.36.3"
"""The version of the API server, of kubectl, and of the Kubernetes that ``helm template`` assumes."""
KUBERNETES_GO = (1, 26, 0)

ETCD = "v3.7.3"
ETCD_GO = (1, 26, 0)
