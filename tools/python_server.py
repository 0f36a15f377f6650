"""Installs a server that is published on PyPI into a virtual environment of its own in the cache.

Its dependencies are pinned by hash in ``tools/upstreams/NAME.lock`` (``make lock``). They are not dependencies of the
project, and may contradict those.
"""

import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import cache
import progress

_LOCKS = Path(__file__).parent / "upstreams"
_INSTALL_TIMEOUT = 1800.0  # seconds for each installation; compiling takes most of it
_VENV_TIMEOUT = 120.0
_PYTHON = "bin/python"


@dataclass(frozen=True)
class Server:
    """The server in ``tools/upstreams/<name>.lock``.

    ``compiled`` are its packages that are compiled here, with the tools in the same lock file: they are installed last.
    ``cmake_args`` are options of their builds. ``module`` is imported to check the installation.
    """

    title: str
    name: str
    module: str
    compiled: tuple[str, ...] = ()
    cmake_args: tuple[str, ...] = ()

    @property
    def _lock(self) -> Path:
        return _LOCKS / f"{self.name}.lock"

    @property
    def _folder(self) -> str:
        key = f"{self._lock.read_text()} {self.cmake_args} {sys.version_info[:2]}"
        return f"{self.name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"

    def find(self) -> Path | None:
        """Return the Python of the server's environment if it has been installed."""
        return cache.find(self._folder, _PYTHON)

    def fetch(self) -> Path:
        """Return the Python of the server's environment, installed if need be.

        Raises:
            cache.Unavailable: if a package cannot be downloaded or compiled; the message has the reason.
        """
        if found := self.find():
            return found
        if self.compiled and not shutil.which("c++"):
            raise cache.Unavailable(f"{self.title} has to be compiled, and `c++` is not on PATH")
        return cache.keep(self._folder, _PYTHON, self._install, lock_timeout=2 * _INSTALL_TIMEOUT)

    def _install(self, folder: Path) -> None:
        cache.run([sys.executable, "-m", "venv", str(folder)], cwd=folder, within=_VENV_TIMEOUT)
        python = str(folder / _PYTHON)
        pip = [python, "-m", "pip", "install", "--quiet", "--require-hashes"]
        with progress.step(f"installing {self.title}"):
            cache.run([*pip, "-r", str(self._write_lock(folder, compiled=False))], cwd=folder, within=_INSTALL_TIMEOUT)
        if self.compiled:
            env = {
                "CMAKE_ARGS": " ".join(self.cmake_args),
                "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            }
            command = [*pip, "--no-deps", "--no-build-isolation", "-r", str(self._write_lock(folder, compiled=True))]
            with progress.step(f"compiling {self.title}"):
                cache.run(command, cwd=folder, within=_INSTALL_TIMEOUT, env=env)
        cache.run([python, "-c", f"import {self.module}"], cwd=folder, within=_VENV_TIMEOUT)

    def _write_lock(self, folder: Path, *, compiled: bool) -> Path:
        """Write the lines of the lock file about the compiled packages, or about the others."""
        entries = self._lock.read_text().replace(" \\\n", " ").splitlines()
        lines = [line for line in entries if line and not line.lstrip().startswith("#")]
        path = folder / f"{'compiled' if compiled else 'plain'}.lock"
        path.write_text("\n".join(line for line in lines if (line.split("==")[0] in self.compiled) is compiled))
        return path


LITELLM = Server(title="LiteLLM", name="litellm", module="litellm")
"""The LiteLLM proxy, which tests put between the client and the simulator."""

LLAMA = Server(
    title="llama.cpp",
    name="llama",
    module="llama_cpp",
    compiled=("llama-cpp-python",),
    # Not for this processor alone, and without parts that the tests do not use.
    cmake_args=("-DGGML_NATIVE=OFF", "-DLLAVA_BUILD=OFF"),
)
"""An inference server on llama.cpp, and the library ``gguf``, which writes a model for it."""
