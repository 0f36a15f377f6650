"""The examples in the documentation work: configurations load, commands parse and run, programs answer."""

import ast
import asyncio
import inspect
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import jsonschema
import openai
import pytest
from jsonschema import validate
from ruamel.yaml import YAML
from tools.docs.examples import VARIABLES
from tools.docs.product import API, parser

import streamcanary
from streamcanary.cli.main import main
from streamcanary.settings import Settings
from streamcanary.settings_sources.document import read_document
from streamcanary.simulator import Simulator, Timeline
from support.servers.simulator import HANGING_TIMINGS

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

SCHEMA: Final = jsonschema.Draft7Validator(
    json.loads((ROOT / "config/streamcanary.schema.json").read_text(encoding="utf-8"))
)

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^(?P=indent)```", re.DOTALL | re.MULTILINE
)
_SNIPPET = re.compile(r'^--8<-- "(?P<path>[^"]+)"$', re.MULTILINE)
_CHART_VALUES: Final = ("# values.yaml\n", "# monitoring.yaml\n")
_KUBERNETES: Final = ("# deployment.yaml\n", "# kustomization.yaml\n", "# shop/")  # tests/kubernetes/ follows the page
_ASSIGNMENT = re.compile(r"[A-Z][A-Z0-9_]*=.*")
_BASE: Final = """
targets:
  openai: {api_key: none}
canaries:
  chat-mini: {target: openai, model: gpt-4o-mini, labels: {tier: prod}}
alerts:
  receivers:
    am: {type: alertmanager, urls: ["http://localhost:9093"]}
"""


class Block(NamedTuple):
    """A code block: its page and line, its language, and its text with included snippets."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Page and line, in the form that editors accept."""
        return f"{self.page}:{self.line}"


class Command(NamedTuple):
    """One command of a shell block: its words, its environment variables, and the exit code in its comment, or 0."""

    place: str
    words: tuple[str, ...]
    variables: dict[str, str]
    code: int


def blocks(*languages: str) -> list[Block]:
    """Return the code blocks of all pages, or those in ``languages``."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            if languages and match["language"] not in languages:
                continue
            body = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
            body = _SNIPPET.sub(lambda found: (ROOT / found["path"]).read_text(encoding="utf-8"), body)
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(str(page.relative_to(ROOT)), line, match["language"], body))
    return found


def load_yaml(text: str) -> Any:
    """Return the content of a YAML document."""
    return YAML(typ="safe", pure=True).load(text)


def completed(fragment: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with ``fragment`` in it, and a target, a canary and a receiver if it has none."""
    is_complete = {"targets", "canaries"} <= fragment.keys()
    return fragment if is_complete else _merged(load_yaml(_BASE), fragment)


def _merged(base: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = {**base, **other}
    for key in base.keys() & other.keys():
        if isinstance(base[key], dict) and isinstance(other[key], dict):
            both[key] = _merged(base[key], other[key])
    return both


def commands(block: Block) -> list[Command]:
    """Return the commands of a shell block."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        text, _, comment = line.partition("    #")
        exit_code = re.search(r"exit code (\d+)", comment)
        for part in text.split("&&"):
            words = shlex.split(part, comments=True)
            variables = {}
            while words and _ASSIGNMENT.fullmatch(words[0]):
                name, _, variables[name] = words.pop(0).partition("=")
            if ">" in words:
                words = words[: words.index(">")]
            if words:
                found.append(Command(block.place, tuple(words), variables, int(exit_code[1]) if exit_code else 0))
    return found


KNOWN_PROGRAMS = {"export", "git", "cd", "curl", "docker", "cosign", "helm", "kill", "kubectl", "promtool", "psql"}
KNOWN = {"yaml", "sh", "python", "text", "promql", "mermaid"}
NO_RECEIVER = "alerts.receivers: is empty, so no alert is sent"  # as intended for a sidecar
SECRETS = {
    "openai": "none",
    "gateway-key": "none",
    "gateway-token": "none",
    "pagerduty": "0123456789abcdef0123456789abcdef",
    "slack": "https://hooks.slack.com/services/T000/B000/XXXX",
    "hook": "whsec_" + "c2VjcmV0" * 4,
    "hook-url": "http://127.0.0.1:1/",
    "web-token": "of-no-worth",
    "database-url": "postgresql://streamcanary:password@db.example/streamcanary",
    "hook-key": "whsec_" + "c2VjcmV0" * 4,
    "mail": "mailtos://user:password@example.com?to=oncall@example.com",
}
OTHER_VARIABLES = dict.fromkeys(("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "DB_PASSWORD"), "none")
SIMULATOR = "http://127.0.0.1:9466/v1"
RUN = {"check", "rules", "test-rules"}
"""Verbs whose examples are run; those of others are parsed."""

CHART_VALUES = [block for block in blocks("yaml") if block.text.startswith(_CHART_VALUES)]
YAML_BLOCKS = [block for block in blocks("yaml") if not block.text.startswith((*_CHART_VALUES, *_KUBERNETES))]
SHELL_BLOCKS, PYTHON_BLOCKS = blocks("sh"), blocks("python")
COMMANDS = [command for block in SHELL_BLOCKS for command in commands(block)]
STREAMCANARY_COMMANDS = [
    command for command in COMMANDS if command.words[0].removeprefix(".venv/bin/") == "streamcanary"
]


def place(block: Block | Command) -> str:
    return block.place


def test_every_block_has_a_language_that_is_tested() -> None:
    """Each block has a language that a test of this module handles."""
    assert [] == [block.place for block in blocks() if block.language not in KNOWN]
    assert (True, True, True) == (len(YAML_BLOCKS) > 15, len(STREAMCANARY_COMMANDS) > 20, len(PYTHON_BLOCKS) > 5)


def test_links_of_the_readme_are_valid() -> None:
    """Each relative link is a file of the repository; those within docs/ are checked when the site is built."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert (True, []) == (len(links) > 10, [link for link in links if not (ROOT / link).exists()])


def test_the_readme_is_short() -> None:
    """The README has fewer than 200 lines, since details are in docs/."""
    assert 200 > len((ROOT / "README.md").read_text(encoding="utf-8").splitlines())


def test_every_page_is_in_the_navigation() -> None:
    """The navigation of mkdocs.yml contains each page."""
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [] == [page.name for page in PAGES[1:] if f"- {page.relative_to(ROOT / 'docs')}\n" not in navigation]


def test_the_architecture_names_every_package() -> None:
    """Each package and module at the top level of the source has a row."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = {
        name
        for line in text.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    source = Path(str(streamcanary.__file__)).parent
    entries = {entry.stem for entry in source.iterdir() if entry.suffix == ".py" or (entry / "__init__.py").exists()}
    assert {name for name in entries if not name.startswith("_")} == rows


def test_the_reference_has_every_public_name() -> None:
    """The API reference documents what the package exports."""
    exported = set(streamcanary.__all__) - {"__version__"}
    assert exported == {name for names in API.values() for name in names}


# Configurations


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the files that the documentation refers to, and make it the current folder."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    shutil.copy(ROOT / "config" / "streamcanary.yaml", tmp_path / "example.yaml")
    shutil.copy(next((ROOT / "tests" / "support").rglob("loopback.pem")), tmp_path / "ca.pem")
    (tmp_path / "secrets").mkdir()
    for name, secret in SECRETS.items():
        (tmp_path / "secrets" / name).write_text(secret)
    first = next(block for block in YAML_BLOCKS if block.page == "docs/getting-started.md")
    (tmp_path / "streamcanary.yaml").write_text(first.text)
    monkeypatch.chdir(tmp_path)
    for name, value in (VARIABLES | OTHER_VARIABLES).items():
        monkeypatch.setenv(name, value)
    return tmp_path


def try_yaml(block: Block, folder: Path) -> int:
    """Check the YAML of a block by its kind; return the exit code of ``check`` or ``test-rules``, 0 for a timeline.

    ``/secrets`` is a folder of containers, in place of which ``folder`` has one.
    """
    block = block._replace(text=block.text.replace(" /secrets/", f" {folder}/secrets/"))
    content = load_yaml(block.text)
    file = folder / "block.yaml"
    if "tests" in content:
        shutil.copy(folder / "example.yaml", folder / "streamcanary.yaml")
        file.write_text(block.text)
        return main(["test-rules", str(file)])
    if "phases" in content:
        file.write_text(block.text)
        Timeline.load(file)
        return 0
    if {"targets", "canaries"} <= content.keys():
        file.write_text(block.text)
    else:
        YAML(typ="safe", pure=True).dump(completed(content), file)
    return main(["check", "-c", str(file)])


@pytest.mark.parametrize("block", CHART_VALUES, ids=place)
def test_values_of_the_chart_are_accepted(block: Block) -> None:
    """The schema of the Helm chart accepts its values."""
    validate(load_yaml(block.text), json.loads((ROOT / "helm" / "streamcanary" / "values.schema.json").read_text()))


@pytest.mark.parametrize("block", YAML_BLOCKS, ids=place)
def test_yaml_is_accepted(block: Block, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A configuration, or a part of one, loads; tests of rules pass; a timeline can be played."""
    code = try_yaml(block, folder)
    err = capfd.readouterr().err
    assert 0 == code, err
    if not {"tests", "phases"} & load_yaml(block.text).keys():
        SCHEMA.validate(read_document(folder / "block.yaml").data)
    if {"targets", "canaries"} <= load_yaml(block.text).keys():
        warnings = [line for line in err.splitlines() if NO_RECEIVER not in line]
        assert [] == warnings  # a complete configuration has no warnings either


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("budget: {usd_per_week: 5}", "usd_per_week"),
        ("canaries: {x: {target: openai, model: m, evry: 5s}}", "evry"),
        ("alerts: {rules: {R: {detector: {type: spike, normal: 40%, spike: 30%}}}}", "is not more than normal"),
        ("targets: {a: {api_key: none}}\ncanaries: {c: {target: b, model: m}}", "there is no target 'b'"),
        ("nonsense: 1", "nonsense"),
    ],
)
def test_yaml_that_no_longer_loads_fails(
    text: str, message: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A renamed key, or a value that is no longer accepted, fails the test of its block."""
    code = try_yaml(Block("page.md", 1, "yaml", text), folder)
    err = capfd.readouterr().err
    assert (2, True) == (code, message in err), err


def test_every_section_of_the_configuration_is_shown() -> None:
    """Each section of the configuration occurs in an example."""
    shown = {key for block in YAML_BLOCKS for key in load_yaml(block.text)}
    assert set() == set(Settings.model_fields) - shown


# Commands


@pytest.mark.parametrize("command", COMMANDS, ids=place)
def test_commands_exist(command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    """The parser accepts each command of streamcanary, and the Makefile has each target of make."""
    program, *arguments = command.words
    if command in STREAMCANARY_COMMANDS:
        try:
            parser().parse_args(arguments)
        except SystemExit:
            pytest.fail(f"{command.place}: {capfd.readouterr().err}")
    elif program == "make":
        targets = {line.partition(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if "##" in line}
        assert set() == {word for word in arguments if "=" not in word} - targets
    else:
        assert program in KNOWN_PROGRAMS


@pytest.mark.parametrize("command", [each for each in STREAMCANARY_COMMANDS if each.words[1] in RUN], ids=place)
def test_commands_run(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Commands that need no endpoint run, and exit with the documented code."""
    if "FILE" in command.words:
        pytest.skip("a placeholder")
    for name, value in command.variables.items():
        monkeypatch.setenv(name, value)
    code = main(list(command.words[1:]))
    assert (command.code, "") == (code, capfd.readouterr().err)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(timings=HANGING_TIMINGS) as simulator:
        yield simulator


@pytest.mark.parametrize("command", [each for each in STREAMCANARY_COMMANDS if SIMULATOR in each.words], ids=place)
async def test_commands_against_the_simulator(command: Command, simulator: Simulator) -> None:
    """A probe of the simulator exits with 0, or with the code in its comment."""
    arguments = [simulator.base_url if word == SIMULATOR else word for word in command.words[1:]]
    environment = {**os.environ, "OPENAI_API_KEY": "none"}
    pipe = asyncio.subprocess.PIPE
    program = (sys.executable, "-m", "streamcanary", *arguments)
    process = await asyncio.create_subprocess_exec(*program, stdout=pipe, stderr=pipe, env=environment)
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert command.code == process.returncode, err.decode()


# Programs


@pytest.fixture
async def opened(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[openai.AsyncOpenAI]]:
    """Yield the list of SDK clients that the test creates, and close them after the test."""
    clients: list[openai.AsyncOpenAI] = []

    class Tracked(openai.AsyncOpenAI):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            clients.append(self)

    monkeypatch.setattr(openai, "AsyncOpenAI", Tracked)
    yield clients
    for client in clients:
        await client.close()


@pytest.mark.parametrize("page", sorted({block.page for block in PYTHON_BLOCKS}))
@pytest.mark.parametrize("model", ["sim-ok", "sim-cut@1"])
async def test_programs_run(
    page: str,
    model: str,
    simulator: Simulator,
    opened: list[openai.AsyncOpenAI],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The Python blocks of a page run in order and print the answer, even if the first attempt is cut."""
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    namespace: dict[str, object] = {}
    for block in PYTHON_BLOCKS:
        if block.page == page:
            text = block.text.replace("http://localhost:8000/v1", simulator.base_url)
            for name in ("gpt-4o-mini", "gpt-4.1-mini", "llama"):
                text = text.replace(f'"{name}"', f'"{model}"')
            padded = "\n" * block.line + text  # a traceback shows the line of the page
            code = compile(padded, str(ROOT / page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            coroutine = eval(code, namespace)  # noqa: S307 - the code is in this repository
            if inspect.iscoroutine(coroutine):
                await coroutine
    out = capsys.readouterr().out
    assert True is ("Pong! The canary sings." in out and "failed" not in out)
    assert (model != "sim-ok") is ("again" in out)
    assert opened
