"""A Kubernetes API server with its command line and its store: kube-apiserver, kubectl and etcd, built with Go.

``k8s.io/kubernetes`` is published with replacements that point into its own source tree. Its staging modules are
published, too, as v0.X.Y of v1.X.Y: the API server is compiled with those in their place.
"""

import json
from pathlib import Path
from typing import Any

import golang
import golang_module
from versions import ETCD, ETCD_GO, KUBERNETES, KUBERNETES_GO

_MODULE = "k8s.io/kubernetes"
_STAGING = KUBERNETES.replace("v1.", "v0.", 1)
_DOWNLOAD_TIMEOUT = 300.0  # seconds for the source of Kubernetes: 20 MB


def _staging_modules(folder: Path) -> list[str]:
    """Return the replacement of each staging module, which the module of Kubernetes lists."""
    command = ["mod", "download", "-json", f"{_MODULE}@{KUBERNETES}"]
    downloaded = _json(golang.run(command, cwd=folder, within=_DOWNLOAD_TIMEOUT))
    command = ["mod", "edit", "-json", downloaded["GoMod"]]
    module = _json(golang.run(command, cwd=folder, within=_DOWNLOAD_TIMEOUT))
    names = [replaced["Old"]["Path"] for replaced in module["Replace"] if replaced["New"]["Path"].startswith("./")]
    return [f"{name}={name}@{_STAGING}" for name in names]


def _json(output: str) -> dict[str, Any]:
    """Return the object in the output of a ``go`` command, which may report downloads before it."""
    value: dict[str, Any] = json.loads(output[output.index("{") :])
    return value


_MAJOR, _MINOR, _ = KUBERNETES.removeprefix("v").split(".")
_VERSION_VARIABLES = {
    f"k8s.io/component-base/version.git{name}": value
    for name, value in (("Version", KUBERNETES), ("Major", _MAJOR), ("Minor", _MINOR))
}
"""As in the build of Kubernetes. Without them the server is v0.0.0-master, for which Helm installs no chart."""

API_SERVER = golang_module.Program(
    title="the Kubernetes API server",
    file_name="kube-apiserver",
    package=f"{_MODULE}/cmd/kube-apiserver/app",
    version=KUBERNETES,
    go=KUBERNETES_GO,
    main="""\
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() { os.Exit(cli.Run(app.NewAPIServerCommand())) }
""",
    replaced=_staging_modules,
    variables=_VERSION_VARIABLES,
)
KUBECTL = golang_module.Program(
    title="kubectl",
    file_name="kubectl",
    package="k8s.io/kubectl/pkg/cmd",
    version=_STAGING,
    go=KUBERNETES_GO,
    main="""\
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
)

func main() { os.Exit(cli.Run(cmd.NewDefaultKubectlCommand())) }
""",
    variables=_VERSION_VARIABLES,
    check=("version", "--client"),
)
ETCD_SERVER = golang_module.Program(
    title="etcd", file_name="etcd", package="go.etcd.io/etcd/server/v3", version=ETCD, go=ETCD_GO
)
