"""Builds programs with Go that ``go install`` refuses or cannot name: as part of a module of their own."""

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cache
import golang
import progress

_MODULE = "program"


@dataclass(frozen=True)
class Program:
    """A program whose module has ``replace`` directives, or that is a few lines of Go around a library.

    ``go install`` refuses the former. Go downloads what is compiled and verifies it with the checksum database, as
    always; nothing of the repository takes part.
    """

    title: str
    """The name in messages."""

    name: str
    """The file name."""
    package: str
    """The import path of the main package, or of the library that ``main`` imports."""
    version: str
    """The version of its module."""
    go: golang.Version
    """The oldest Go release that builds it."""
    main: str | None = None
    """Source of the main package, if ``package`` is none."""
    replaced: Callable[[Path], list[str]] = lambda _folder: []
    """Returns the module replacements ``OLD=NEW@VERSION`` that the build needs; may run ``go`` in the folder."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Go variables that the linker sets, by import path and name, such as those of the version."""
    check: tuple[str, ...] = ("--version",)
    """Arguments with which the program ends at once and successfully."""
    build_timeout: float = 3600.0
    """Seconds for all steps, with an empty Go cache on two cores that are busy."""

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
        golang.require(self.title, self.go)
        return cache.keep(self._folder, self.name, self._build, lock_timeout=self.build_timeout + 60)

    def _build(self, folder: Path) -> None:
        deadline = time.monotonic() + self.build_timeout
        source = folder / "source"
        source.mkdir()
        if self.main is None:
            get, target = ["get", "-tool", f"{self.package}@{self.version}"], self.package
        else:
            (source / "main.go").write_text(self.main)
            get, target = ["get", f"{self.package}@{self.version}", "."], "."
        golang.run(["mod", "init", _MODULE], cwd=source, within=deadline - time.monotonic())
        with progress.step(f"downloading {self.title} {self.version}"):
            if replacements := self.replaced(source):
                edit = ["mod", "edit", *(f"-replace={replacement}" for replacement in replacements)]
                golang.run(edit, cwd=source, within=deadline - time.monotonic())
            golang.run(get, cwd=source, within=deadline - time.monotonic())
        with progress.step(f"compiling {self.title} {self.version} with Go"):
            build = ["build", *golang.build_flags(self.variables), "-o", str(folder / self.name), target]
            golang.run(build, cwd=source, within=deadline - time.monotonic())
        cache.check_runs(folder / self.name, *self.check)
        shutil.rmtree(source)
