"""Build the source distribution and the wheel, reproducibly."""

import hashlib
import os
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from .command import CheckFailed, run


class Built(NamedTuple):
    """The two files of a release."""

    sdist: Path
    wheel: Path


def build(root: Path, folder: Path, epoch: str) -> Built:
    """Build the source distribution from ``root``, and the wheel from the unpacked source distribution.

    ``epoch`` is the time in all archives, seconds since 1970.

    Raises:
        CheckFailed: if one cannot be built.
    """
    sdist = _hatchling("sdist", root, folder, epoch)
    unpacked = folder / "unpacked"
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    return Built(sdist, _hatchling("wheel", source, folder, epoch))


def _hatchling(target: str, source: Path, folder: Path, epoch: str) -> Path:
    out = folder / target
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
    command: list[str | Path] = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", out]
    run(command, f"the {target} cannot be built", cwd=source, env=environment)
    (built,) = out.iterdir()
    return built


def names(built: Built) -> tuple[list[str], list[str]]:
    """Return the names of the files in the source distribution, and in the wheel."""
    with tarfile.open(built.sdist) as sdist, zipfile.ZipFile(built.wheel) as wheel:
        return (
            [member.name for member in sdist.getmembers() if not member.isdir()],
            [member.filename for member in wheel.infolist() if not member.is_dir()],
        )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def compare(first: Built, second: Built) -> None:
    """Compare two builds of the same commit.

    Raises:
        CheckFailed: if a file differs.
    """
    for one, other in zip(first, second, strict=True):
        if one.name != other.name or sha256(one) != sha256(other):
            raise CheckFailed(f"{one.name} is not reproducible: two builds of the same commit differ")
