"""Builds programs with Go, at a pinned version and within a time limit."""

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import cache
import progress

_QUERY_TIMEOUT = 60.0  # seconds for `go env`

# CGO_ENABLED=0: the program is static and needs no file of the machine. GOFLAGS, GOOS and GOARCH replace the user's.
_ENV = {"GOWORK": "off", "GOFLAGS": "-mod=mod -buildvcs=false", "CGO_ENABLED": "0", "GOOS": "", "GOARCH": ""}
_LINK_FLAGS = "-s -w"

Version = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class BuiltProgram:
    """A program that is built with Go and cached by its version and its linker variables."""

    title: str
    """The name in messages."""

    package: str
    """The import path of its main package."""
    version: str
    """The version of its module."""
    go: Version
    """The oldest Go release that builds it."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Go variables that the linker sets, by import path and name: what the program's own build script would set."""
    check: tuple[str, ...] = ("--version",)
    """Arguments with which the program ends at once and successfully."""
    build_timeout: float = 1200.0
    """Seconds for all steps: minutes on two cores with an empty Go cache."""

    @property
    def name(self) -> str:
        """The file name: the last element of ``package``."""
        return self.package.rpartition("/")[2]

    @property
    def _folder(self) -> str:
        digest = hashlib.sha256(repr(sorted(self.variables.items())).encode()).hexdigest()[:12]
        return f"{self.name}-{self.version}-{digest}" if self.variables else f"{self.name}-{self.version}"

    def find(self) -> Path | None:
        """Return the program if this version of it has been built."""
        return cache.find(self._folder, self.name)

    def fetch(self) -> Path:
        """Return the program, built if need be.

        Raises:
            cache.Unavailable: if Go is missing or too old, a module cannot be downloaded, or the build fails or takes
                too long.
        """
        if found := self.find():
            return found
        require(self.title, self.go)
        return cache.keep(self._folder, self.name, self._build_and_check, lock_timeout=self.build_timeout + 60)

    def _build_and_check(self, folder: Path) -> None:
        self._build(folder)
        cache.check_runs(folder / self.name, *self.check)

    def _build(self, folder: Path) -> None:
        """Build the program as ``folder / self.name``."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Program(BuiltProgram):
    """A program that ``go install`` builds."""

    tags: tuple[str, ...] = ()
    """Build tags."""

    def _build(self, folder: Path) -> None:
        tags = [f"-tags={','.join(self.tags)}"] if self.tags else []
        command = ["install", *build_flags(self.variables), *tags, f"{self.package}@{self.version}"]
        with progress.step(f"building {self.title} {self.version} with Go"):
            run(command, cwd=folder, within=self.build_timeout, gobin=folder)


def build_flags(variables: Mapping[str, str] = MappingProxyType({})) -> tuple[str, str]:
    """Return the flags of a build with these linker variables, without symbols and without paths of this machine."""
    link = " ".join([_LINK_FLAGS, *(f"-X={name}={value}" for name, value in variables.items())])
    return "-trimpath", f"-ldflags={link}"


def require(title: str, oldest: Version) -> None:
    """Check that Go is there and can build ``title``.

    Raises:
        cache.Unavailable: if Go is missing, or older than ``oldest`` and not allowed to download a newer toolchain.
    """
    needed = f"{title} is built with Go {'.'.join(map(str, oldest))} or newer"
    if shutil.which("go") is None:
        raise cache.Unavailable(f"{needed}, and there is no `go` on PATH: install Go")
    output = cache.run(["go", "env", "GOVERSION", "GOTOOLCHAIN"], cwd=Path("/"), within=_QUERY_TIMEOUT)
    version, toolchain = [*output.splitlines(), "", ""][:2]
    found = _parse(version)
    if found is None or found >= oldest:  # a development version has no number, and may build it
        return
    if found >= (1, 21, 0) and (toolchain == "auto" or toolchain.endswith("+auto")):
        return  # Go downloads the toolchain that the module asks for
    raise cache.Unavailable(f"{needed}, and `go` on PATH is {version.removeprefix('go')}: install a newer Go")


def run(command: Sequence[str], *, cwd: Path, within: float, gobin: Path | None = None) -> str:
    """Run a ``go`` command and return its output; programs that it installs go to ``gobin``.

    Raises:
        cache.Unavailable: as :func:`cache.run`.
    """
    env = _ENV if gobin is None else {**_ENV, "GOBIN": str(gobin)}
    return cache.run(["go", *command], cwd=cwd, within=within, env=env)


def _parse(version: str) -> Version | None:
    match = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", version)
    return None if match is None else (int(match[1]), int(match[2]), int(match[3] or 0))
