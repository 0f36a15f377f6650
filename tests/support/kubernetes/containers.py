"""Runs the containers of a pod as processes of this machine: their environment, volumes, user and read-only root."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.kubernetes.volumes import Fetch, MissingObject, contents, data_of, mode_of, own, write_files
from support.programs.isolation import enter_mount_namespace

ROOT = Path(__file__).parents[3]
POD_IP = "127.0.0.1"
_LABEL = re.compile(r"metadata\.labels\['(.+)'\]")
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ssl", "/etc/hosts", "/etc/resolv.conf")

# Arguments: the new root; options of chroot; source, target and mode of each volume; "-"; the paths to show, some of
# which may be below a volume, such as /tmp; "-"; the command. The root is read-only, as with readOnlyRootFilesystem.
# Each step replaces the process by the next one, so the process id stays, and a signal reaches the program.
_ENTER = """\
set -e
PATH=$PATH:/usr/sbin:/sbin
root=$1
options=$2
shift 2
mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir "$root/proc" "$root/dev"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
show() {
    mkdir -p "$root$(dirname "$2")"
    if [ -d "$1" ]; then mkdir -p "$root$2"; else : > "$root$2"; fi
    mount --bind "$1" "$root$2"
}
while [ "$1" != - ]; do
    show "$1" "$2"
    if [ "$3" = ro ]; then mount -o remount,bind,ro "$root$2"; fi
    shift 3
done
shift
while [ "$1" != - ]; do show "$1" "$1"; mount -o remount,bind,ro "$root$1"; shift; done
shift
mount -o remount,ro "$root"
exec chroot $options "$root" "$@"
"""


class PodVolumes:
    """The volumes that ``container`` of a pod mounts, in ``folder``; those of claims in ``claims`` outlast the pod."""

    def __init__(self, spec: Mapping[str, Any], container: Mapping[str, Any], folder: Path, claims: Path) -> None:
        mounted = {each["name"] for each in container.get("volumeMounts", ())}
        self._sources: dict[str, Mapping[str, Any]] = {
            each["name"]: each for each in spec.get("volumes", ()) if each["name"] in mounted
        }
        self._folder = folder
        self._claims = claims
        self._has_group = "fsGroup" in spec.get("securityContext", {})

    def path(self, name: str) -> Path:
        """Return the folder of a volume."""
        source = self._sources[name]
        claim = source.get("persistentVolumeClaim")
        return self._claims / claim["claimName"] if claim else self._folder / name

    def update(self, fetch: Fetch) -> bool:
        """Write what the ConfigMaps and Secrets contain now; return whether anything has changed.

        Raises:
            MissingObject: if one does not exist.
        """
        changed = False
        for name, source in self._sources.items():
            files = contents(source, fetch)
            path = self.path(name)
            if not path.exists():
                path.mkdir(parents=True)
                path.chmod(0o755 if self._has_group or files is not None else 0o777)
                if self._has_group:
                    own(path)
            if files is not None:
                changed |= write_files(path, files, mode_of(source), is_owned=self._has_group)
        return changed


def environment(container: Mapping[str, Any], pod: Mapping[str, Any], fetch: Fetch) -> dict[str, str]:
    """Return the environment of a container.

    Raises:
        MissingObject: if a ConfigMap, a Secret or a key in it does not exist, and is not optional.
    """
    variables: dict[str, str] = {}
    for each in container.get("envFrom", ()):
        kind, reference = ("Secret", each["secretRef"]) if "secretRef" in each else ("ConfigMap", each["configMapRef"])
        variables |= {name: value.decode() for name, value in data_of(kind, reference, fetch).items()}
    for each in container.get("env", ()):
        source = each.get("valueFrom", {})
        if "fieldRef" in source:
            variables[each["name"]] = _field(source["fieldRef"]["fieldPath"], pod)
        elif source:
            kind, reference = (
                ("Secret", source["secretKeyRef"])
                if "secretKeyRef" in source
                else ("ConfigMap", source["configMapKeyRef"])
            )
            data = data_of(kind, reference, fetch)
            if reference["key"] in data:
                variables[each["name"]] = data[reference["key"]].decode()
            elif not reference.get("optional"):
                raise MissingObject(f"key {reference['key']} of {kind} {reference['name']}")
        else:
            variables[each["name"]] = each.get("value", "")
    return variables


def _field(path: str, pod: Mapping[str, Any]) -> str:
    known = {"status.podIP": POD_IP, "spec.nodeName": pod["spec"].get("nodeName")}
    if label := _LABEL.fullmatch(path):
        return str(pod["metadata"].get("labels", {}).get(label[1], ""))
    return known.get(path) or str(pod["metadata"][path.removeprefix("metadata.")])


def command_line(
    container: Mapping[str, Any], volumes: PodVolumes, root: Path, execute: Sequence[str] = ()
) -> list[str]:
    """Return a command line that runs ``container`` with its volumes at their places, in the file system at ``root``.

    The program is the streamcanary of this repository, or its liveness command with the arguments ``execute``. It sees
    the interpreter, the system's libraries, the repository and the volumes, and can write only to volumes that are not
    mounted read-only. As root, it becomes the user of the pod.

    Where mount namespaces are not permitted, the test is skipped; with ``CI=true`` it fails.
    """
    namespace: Sequence[str] = enter_mount_namespace() or ()
    if not namespace:
        reason = "this test needs mount namespaces: run it as root, or permit user namespaces"
        pytest.fail(reason, pytrace=False) if os.environ.get("CI") == "true" else pytest.skip(reason)
    root.mkdir(parents=True, exist_ok=True)
    shown = [path for path in (*_SYSTEM, sys.base_prefix, sys.prefix, str(ROOT)) if Path(path).exists()]
    mounts = [
        word
        for mount in sorted(container.get("volumeMounts", ()), key=lambda mount: str(mount["mountPath"]))
        for word in (str(volumes.path(mount["name"])), mount["mountPath"], "ro" if mount.get("readOnly") else "rw")
    ]
    become = "--userspec=65532:65532 --groups=65532" if os.geteuid() == 0 else ""
    module: Sequence[str] = ("streamcanary.liveness", *execute) if execute else ("streamcanary", *container["args"])
    program: Sequence[str] = (sys.executable, "-B", "-m", *module)
    return [*namespace, "sh", "-c", _ENTER, "sh", str(root), become, *mounts, "-", *shown, "-", *program]
