"""The content of the image: built as the Dockerfile builds it, and run in a root file system like a container's."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from msgspec import Struct

from support.programs.daemon import Daemon
from support.programs.isolation import enter_mount_namespace

ROOT = Path(__file__).parents[3]
_BUILD_WITHIN = 900.0
_LIST_WITHIN = 60.0

# Arguments: the new root, options of chroot, "-", paths to show, "-", paths to show writable, "-", and the command.
# Each step replaces the process by the next one, so the process id stays, and a signal reaches the program.
_ENTER = """\
set -e
PATH=$PATH:/usr/sbin:/sbin
root=$1
options=$2
shift 3
mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir "$root/proc" "$root/dev"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
show() {
    mkdir -p "$root$(dirname "$1")"
    if [ -d "$1" ]; then mkdir -p "$root$1"; else : > "$root$1"; fi
    mount --bind "$1" "$root$1"
}
while [ "$1" != - ]; do show "$1"; mount -o remount,bind,ro "$root$1"; shift; done
shift
while [ "$1" != - ]; do show "$1"; shift; done
shift
mount -o remount,ro "$root"
exec chroot $options "$root" "$@"
"""


class Dockerfile(Struct, frozen=True):
    """The instructions of the Dockerfile; of those that are given once an image, the last stage counts."""

    instructions: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls) -> "Dockerfile":
        """Read it; comments are left out, and continued lines are joined."""
        text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
        lines = text.replace("\\\n", " ").splitlines()
        return cls(tuple((line.split(maxsplit=1)[0], line.split(maxsplit=1)[1].strip()) for line in lines if line))

    def all(self, instruction: str) -> list[str]:
        """Return the arguments of each ``instruction``."""
        return [arguments for name, arguments in self.instructions if name == instruction]

    def exec_form(self, instruction: str) -> list[str]:
        """Return the words of the last ``instruction``, which needs no shell; a shell form fails."""
        words: list[str] = json.loads(self.all(instruction)[-1])
        return words

    @property
    def user(self) -> tuple[int, int]:
        """The numeric user and group."""
        user, _, group = self.all("USER")[-1].partition(":")
        return int(user), int(group)


class Image(Struct, frozen=True):
    """A built image: ``tree`` is what is at ``/opt/streamcanary`` in the real one."""

    tree: Path
    mount_point: Path

    @property
    def entrypoint(self) -> list[str]:
        """The command of the Dockerfile, in ``tree``."""
        program, *arguments = Dockerfile.read().exec_form("ENTRYPOINT")
        return [program.replace("/opt/streamcanary", str(self.tree), 1), *arguments]

    def command(self, *arguments: str, show: Sequence[Path] = (), writable: Sequence[Path] = ()) -> list[str]:
        """Return a command line that runs the image's entry point with ``arguments`` as a container does.

        The program sees the image, the interpreter, the paths in ``show`` and ``writable``, ``/proc`` and ``/dev``, and
        nothing else: no shell, no ``/tmp``, no certificates. It can write to ``writable`` only. As root, it becomes
        the user of the Dockerfile; others cannot, and the program stays theirs.

        Where mount namespaces are not permitted, the test is skipped; with ``CI=true`` it fails.
        """
        if (namespace := enter_mount_namespace()) is None:
            reason = "this test needs mount namespaces: run it as root, or permit user namespaces"
            if os.environ.get("CI") == "true":
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)
        self.mount_point.mkdir(exist_ok=True)
        user, group = Dockerfile.read().user
        become = f"--userspec={user}:{group} --groups={group}" if os.geteuid() == 0 else ""
        shown = [str(path) for path in (self.tree, *_interpreter(self.tree), *show)]
        paths = [*shown, "-", *map(str, writable), "-"]
        return [
            *namespace,
            "sh",
            "-c",
            _ENTER,
            "sh",
            str(self.mount_point),
            become,
            "-",
            *paths,
            *self.entrypoint,
            *arguments,
        ]

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the Dockerfile, with paths in ``tree``, and without those of the machine."""
        variables = " ".join(Dockerfile.read().all("ENV")).replace("/opt/streamcanary", str(self.tree))
        return dict(re.findall(r"(\w+)=(\S+)", variables))


class ImageDaemon(Daemon):
    """A daemon from the image, whose store is in ``folder / "volume"``: the only place where it can write."""

    def __init__(self, image: Image, folder: Path, config: Mapping[str, object]) -> None:
        self._image = image
        self.volume = folder / "volume"
        super().__init__(folder, {"store": {"path": str(self.volume / "store.db")}, **config})
        self.volume.mkdir()
        if os.geteuid() == 0:
            os.chown(self.volume, *Dockerfile.read().user)

    def launch_command(self) -> list[str]:
        """Return the command line up to the verb."""
        return self._image.command(show=[self.config], writable=[self.volume])

    def environment(self) -> dict[str, str]:
        """Return the environment of the image, with nothing of the machine."""
        return self._image.environment


def build_image(folder: Path) -> Image:
    """Build the image below ``folder``, from the files that ``.dockerignore`` lets through.

    pip takes the package index from the environment of this process.
    """
    source, tree, work = folder / "source", folder / "opt", folder / "work"
    work.mkdir()
    for pattern in (ROOT / ".dockerignore").read_text().splitlines():
        if pattern.startswith("!"):
            _copy(ROOT / pattern[1:], source / pattern[1:])
    script, *arguments = Dockerfile.read().exec_form("RUN")
    assert ["/source", "/opt/streamcanary"] == arguments
    before = _names(source)
    built = subprocess.run(
        [str(source / Path(script).relative_to("/source")), str(source), str(tree)],
        cwd=work,
        env={**os.environ, "PATH": f"{sys.base_prefix}/bin:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=_BUILD_WITHIN,
        check=False,
    )
    assert (0, "", "") == (built.returncode, built.stdout, built.stderr), built
    assert [] == list(work.iterdir())
    assert before == _names(source)
    return Image(tree, folder / "root")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(source, target)


def _names(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def _interpreter(tree: Path) -> list[Path]:
    """Return the files that the base image contributes: Python, its library, and the libraries that both link."""
    program = (tree / "bin" / "python").resolve()
    links = {path.readlink() for path in (tree / "bin").iterdir() if path.is_symlink()}
    library = Path(sysconfig.get_path("stdlib"))
    binaries = [program, *library.rglob("*.so"), *tree.rglob("*.so")]
    listed = subprocess.run(
        ["ldd", *map(str, binaries)], capture_output=True, text=True, timeout=_LIST_WITHIN, check=False
    )
    linked = {Path(path) for path in re.findall(r"(?:=> |^\s)(/\S+) \(0x", listed.stdout, flags=re.MULTILINE)}
    inside = {path for path in linked if path.is_relative_to(tree) or path.is_relative_to(library)}
    return [library, *sorted({program, *filter(Path.is_absolute, links)} | linked - inside)]
