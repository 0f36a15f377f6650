"""Volumes of a pod, laid out as the kubelet does: ConfigMaps and Secrets are replaced by renaming one symbolic link."""

import os
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Fetch = Callable[[str, str], dict[str, Any] | None]
"""Returns the ConfigMap, Secret or SecretProviderClass of a kind and name; ``None`` if there is none."""

_USER = 65532
_DATA = "..data"


class MissingObject(Exception):
    """A pod refers to a ConfigMap, a Secret or a key that does not exist; the kubelet waits for it."""


def contents(source: Mapping[str, Any], fetch: Fetch) -> dict[str, bytes] | None:
    """Return the files of a volume of ConfigMaps and Secrets, or of a CSI driver; ``None`` for another kind of volume.

    Raises:
        MissingObject: if an object that is not optional does not exist.
    """
    if "projected" in source:
        files: dict[str, bytes] = {}
        for part in source["projected"]["sources"]:
            files |= contents(part, fetch) or {}
        return files
    if "csi" in source:
        return data_of("SecretProviderClass", {"name": _class_of(source["csi"])}, fetch)
    if "configMap" in source:
        return _selected(source["configMap"], data_of("ConfigMap", source["configMap"], fetch))
    if "secret" in source:
        return _selected(source["secret"], data_of("Secret", source["secret"], fetch))
    return None


def _class_of(volume: Mapping[str, Any]) -> str:
    """Return the name of the class of a volume of the Secrets Store CSI driver."""
    assert "secrets-store.csi.k8s.io" == volume["driver"]
    name: str = volume["volumeAttributes"]["secretProviderClass"]
    return name


def data_of(kind: str, reference: Mapping[str, Any], fetch: Fetch) -> dict[str, bytes]:
    """Return the data of the object that ``reference`` names; nothing if it is missing and optional.

    Raises:
        MissingObject: if it does not exist and is not optional.
    """
    name = reference.get("name") or reference["secretName"]
    found = fetch(kind, name)
    if found is None:
        if reference.get("optional"):
            return {}
        raise MissingObject(f"{kind} {name}")
    data: dict[str, str] = found.get("data") or {}
    return {key: b64decode(value) if kind == "Secret" else value.encode() for key, value in data.items()}


def mode_of(source: Mapping[str, Any]) -> int:
    """Return the mode of the files in a volume."""
    settings = next((source[kind] for kind in ("projected", "configMap", "secret") if kind in source), {})
    return int(settings.get("defaultMode", 0o644))


def _selected(source: Mapping[str, Any], data: dict[str, bytes]) -> dict[str, bytes]:
    if "items" not in source:
        return data
    return {item["path"]: data[item["key"]] for item in source["items"] if item["key"] in data}


def write_files(folder: Path, files: Mapping[str, bytes], mode: int, *, is_owned: bool = True) -> bool:
    """Replace the files in ``folder`` at once, as the kubelet's atomic writer; return whether they have changed.

    They belong to the user of the pods if ``is_owned``, as with ``fsGroup``.

    Each name is a link to ``..data/NAME``, and ``..data`` a link to a folder with the time in its name.
    https://pkg.go.dev/k8s.io/kubernetes/pkg/volume/util#AtomicWriter
    """
    link = folder / _DATA
    former = {path.name: path.read_bytes() for path in link.iterdir()} if link.exists() else None
    if former == files:
        return False
    data = folder / f"..{time.strftime('%Y_%m_%d_%H_%M_%S')}.{time.monotonic_ns()}"
    data.mkdir(parents=True)
    data.chmod(0o755)
    for name, content in files.items():
        path = data / name
        path.write_bytes(content)
        path.chmod(mode)
        if is_owned:
            own(path)
    replacement = folder / "..data_tmp"
    replacement.symlink_to(data.name)
    replacement.rename(link)
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path(_DATA) / name)
    for name in set(former or ()) - set(files):
        (folder / name).unlink()
    return True


def own(path: Path) -> None:
    """Give ``path`` to the user of the pods, as ``fsGroup`` does, if this process may."""
    if os.geteuid() == 0:
        os.chown(path, _USER, _USER)
