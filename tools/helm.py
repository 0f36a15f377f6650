"""Helm, which renders, checks and installs charts: built with Go."""

import golang
import versions

_MAJOR, _MINOR, _ = versions.KUBERNETES.removeprefix("v").split(".")

PROGRAM = golang.Program(
    title="Helm",
    package="helm.sh/helm/v3/cmd/helm",
    version=versions.HELM,
    go=versions.HELM_GO,
    # As in Helm's Makefile. Without them `helm template` assumes Kubernetes 1.20, and refuses charts for newer ones.
    variables={
        f"helm.sh/helm/v3/{package}.{name}": value
        for package in ("pkg/chartutil", "pkg/lint/rules")
        for name, value in (("k8sVersionMajor", _MAJOR), ("k8sVersionMinor", _MINOR))
    }
    | {"helm.sh/helm/v3/internal/version.version": versions.HELM},
    check=("version",),
)
