"""Builds programs with Go that ``go install`` refuses or cannot name: as part of a module of their own."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import golang
import progress

_MODULE = "program"


@dataclass(frozen=True, kw_only=True)
class Program(golang.BuiltProgram):
    """A program whose module has ``replace`` directives, or that is a few lines of Go around a library.

    ``go install`` refuses the former. Go downloads what is compiled and verifies it with the checksum database, as
    always; nothing of the repository takes part. ``package`` may be the library that ``main`` imports.
    """

    file_name: str
    """The file name of the program."""
    main: str | None = None
    """Source of the main package, if ``package`` is none."""
    replaced: Callable[[Path], list[str]] = lambda _folder: []
    """Returns the module replacements ``OLD=NEW@VERSION`` that the build needs; may run ``go`` in the folder."""
    build_timeout: float = 3600.0
    """Seconds for all steps, with an empty Go cache on two cores that are busy."""

    @property
    def name(self) -> str:
        """The file name."""
        return self.file_name

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
        shutil.rmtree(source)
