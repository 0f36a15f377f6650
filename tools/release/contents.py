"""Check that the wheel and the source distribution contain what they must, and nothing else."""

from collections.abc import Collection, Iterable

PACKAGE = "daemon/streamcanary/"
"""The folder of the package, as git knows it."""

_REQUIRED = ("streamcanary/__init__.py", "streamcanary/py.typed")
_METADATA = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
_SUFFIXES = (".py", ".yaml", "/py.typed")
_GENERATED = ("PKG-INFO",)
_SHOWN = 5  # names that one sentence lists


def wheel_problems(names: Collection[str], tracked: Iterable[str], version: str) -> list[str]:
    """Return a sentence for each way in which a wheel with files of these names is wrong.

    It must contain each file of the package that git tracks, YAML and ``py.typed`` among them, the metadata and the
    licence: no tests, no caches, no files that are not committed. Other kinds of files in the package are leftovers.
    """
    metadata = {f"streamcanary-{version}.dist-info/{name}" for name in _METADATA}
    package = {name.removeprefix("daemon/") for name in tracked if name.startswith(PACKAGE)}
    problems = _problems("the wheel", names, package | metadata | set(_REQUIRED))
    if leftovers := {name for name in package if not name.endswith(_SUFFIXES)}:
        problems.append(
            f"the package contains {_list(leftovers)}, which is neither Python nor YAML; remove it from git"
        )
    return problems


def sdist_problems(names: Collection[str], tracked: Iterable[str], version: str) -> list[str]:
    """Return a sentence for each way in which a source distribution with files of these names is wrong.

    It must contain each file that git tracks and ``PKG-INFO``, all below one folder.
    """
    folder = f"streamcanary-{version}/"
    return _problems("the source distribution", names, {folder + name for name in (*tracked, *_GENERATED)})


def _problems(archive: str, names: Collection[str], expected: set[str]) -> list[str]:
    present = set(names)
    problems = []
    if missing := expected - present:
        problems.append(f"{archive} lacks {_list(missing)}")
    if surplus := present - expected:
        problems.append(f"{archive} contains {_list(surplus)}, which git does not track there")
    if len(present) != len(names):
        problems.append(f"{archive} contains a name twice")
    return problems


def _list(names: set[str]) -> str:
    listed = ", ".join(sorted(names)[:_SHOWN])
    return listed if len(names) <= _SHOWN else f"{listed} and {len(names) - _SHOWN} more"
