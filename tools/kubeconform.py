"""kubeconform, which checks manifests against the JSON Schemas of Kubernetes: built with Go.

It brings no schemas; those of the development dependency ``kubernetes-validate`` need no network.
"""

import golang
import versions

PROGRAM = golang.Program(
    title="kubeconform",
    package="github.com/yannh/kubeconform/cmd/kubeconform",
    version=versions.KUBECONFORM,
    go=versions.KUBECONFORM_GO,
    check=("-v",),
)
