"""The command line imports the types of the OpenAI SDK when they are used: a daemon needs a sixth of them."""

import json
import subprocess
import sys
from pathlib import Path

import openai.types
import pytest

from streamcanary.cli.lazy_sdk_types import _reexports

PACKAGES = ["openai.types", "openai.types.chat", "openai.types.responses", "openai.types.shared"]

_NAMES = """
import importlib, json, sys
if sys.argv[1] == "lazily":
    from streamcanary.cli.lazy_sdk_types import import_sdk_types_lazily
    import_sdk_types_lazily()
names = {}
for package in sys.argv[2:]:
    module = importlib.import_module(package)
    public = [name for name in dir(module) if name[0].isupper()]
    names[package] = {name: repr(getattr(module, name)) for name in public}
print(json.dumps(names))
"""
_DAEMON = """
import sys
from streamcanary.cli.lazy_sdk_types import import_sdk_types_lazily
import_sdk_types_lazily()
import streamcanary.app.daemon
from openai import AsyncOpenAI
AsyncOpenAI(api_key="none").chat.completions
print(sum(name.startswith("openai.types") for name in sys.modules))
"""


def output_of(program: str, *arguments: str) -> str:
    """Return what a Python program prints."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_packages_have_the_names_and_objects_of_the_sdk() -> None:
    """Every name of a package is there, and is what it is without the command line."""
    lazily, usual = (json.loads(output_of(_NAMES, how, *PACKAGES)) for how in ("lazily", "usually"))
    assert usual == lazily
    assert all(len(names) > 10 for names in lazily.values())


def test_a_daemon_imports_a_sixth_of_the_types() -> None:
    """The types of the other APIs of the SDK, several hundred modules, are not imported; a later SDK may break that."""
    assert int(output_of(_DAEMON)) < 100


def test_a_name_that_does_not_exist_is_an_error() -> None:
    """It is the error of a package that was imported as usual."""
    program = f"{_NAMES}\nimport openai.types\ntry: openai.types.Nothing\nexcept AttributeError as error: print(error)"
    assert "module 'openai.types' has no attribute 'Nothing'" == output_of(program, "lazily").splitlines()[-1]


@pytest.mark.parametrize(
    "source", ["x = 1", "import a", "from a import b", "from .a import *", "from .a import b as c", "from . import a"]
)
def test_a_package_that_does_more_is_imported_as_usual(source: str) -> None:
    """Only imports of names from the modules of a package can be made later."""
    assert None is _reexports(source.encode())


def test_the_packages_of_the_installed_sdk_do_nothing_else() -> None:
    """Each package of types can be imported lazily."""
    packages = sorted(Path(openai.types.__path__[0]).rglob("__init__.py"))
    assert [] == [package for package in packages if _reexports(package.read_bytes()) is None]
