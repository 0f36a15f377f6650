"""Imports the types of the OpenAI SDK when they are used.

``import openai`` imports all of them: 400 modules, which take 10 MB and 0.3 s of CPU. A daemon that asks Chat
Completions needs some sixty. So the packages below ``openai.types``, which do nothing but import names from their
modules, import each name when it is used (PEP 562). They have the same names and the same objects as always. A package
of a later SDK that does more than that is imported as usual.

This changes imports of the whole process, so it is for our own process, and not for the library.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any, Final

_ROOT: Final = "openai.types"


def import_sdk_types_lazily() -> None:
    """Import the packages of types of the SDK lazily from now on; those that are imported already stay."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds the packages of types, for a loader that is lazy."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the specification of a package of types; ``None`` for all other modules."""
        if fullname != _ROOT and not fullname.startswith(f"{_ROOT}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not spec.submodule_search_locations or type(spec.loader) is not SourceFileLoader:
            return None
        spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Loads a package that only imports names from its modules, without importing these modules."""

    def exec_module(self, module: ModuleType) -> None:
        """Give ``module`` a function that imports each name when it is used."""
        modules = _reexports(self.get_data(self.path))
        if modules is None:
            super().exec_module(module)
            return

        def import_name(name: str) -> Any:
            if name not in modules:
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            value = getattr(import_module(f"{module.__name__}.{modules[name]}"), name)
            setattr(module, name, value)
            return value

        module.__getattr__ = import_name  # type: ignore[method-assign] # as PEP 562 says
        module.__dir__ = lambda: sorted({*vars(module), *modules})  # type: ignore[method-assign]


def _reexports(source: bytes) -> dict[str, str] | None:
    """Return the names that ``source`` imports, with their modules; ``None`` if it does anything else."""
    import ast

    found: dict[str, str] = {}
    for statement in ast.parse(source).body:
        if not isinstance(statement, ast.ImportFrom):
            return None
        if statement.module == "__future__":
            continue
        if statement.level != 1 or statement.module is None:
            return None
        for name in statement.names:
            if name.name == "*" or name.asname not in (None, name.name):
                return None
            found[name.name] = statement.module
    return found
