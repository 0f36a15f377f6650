"""Generates the page of the example configurations: each file, and what ``check`` prints for it."""

import io
import os
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from .page import Stale, head
from .product import check, parser

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "config/examples"
ORDER = (
    "openai.yaml",
    "azure.yaml",
    "openrouter.yaml",
    "models.yaml",
    "litellm.yaml",
    "vllm.yaml",
    "ollama.yaml",
    "llama-cpp.yaml",
    "sidecar.yaml",
    "regions/streamcanary.yaml",
)
"""The configurations of streamcanary below the folder, in the order of the page."""

VARIABLES = {
    "AZURE_EAST_KEY": "example-1234567890",
    "LITELLM_KEY": "sk-example-1234567890",
    "MODEL": "gpt-4.1-mini",
    "OPENAI_API_KEY": "sk-example-1234567890",
    "OPENROUTER_API_KEY": "sk-or-example-1234567890",
    "PAGERDUTY_KEY": "0123456789abcdef0123456789abcdef",
    "POD_NAME": "shop-7c9d8f6b5-x2x4z",
    "POD_NAMESPACE": "shop",
    "REGION": "eu-central-1",
    "SLACK_URL": "https://hooks.slack.com/services/T000/B000/XXXX",
    "WEBHOOK_SECRET": "whsec_c3RyZWFtY2FuYXJ5IGV4YW1wbGUga2V5ISE=",
}
"""A value for each variable without a default."""

INTRODUCTION = """
Complete configurations to start from, in `config/examples/`. Below each is what `streamcanary check` prints for it: for
each rule, the delay until it fires and the false pages to expect. `streamcanary init` writes a smaller file for your
endpoint.

The files name their variables in the first lines. [Editors](configuration.md#in-an-editor) complete their keys.
"""


def examples_page() -> str:
    """Return ``docs/examples.md``.

    Raises:
        Stale: if an example has no title, is not in the list, or is refused by ``check``.
    """
    found = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.yaml") if "\ntargets:" in path.read_text()}
    if found != set(ORDER):
        raise Stale(f"tools/docs/examples.py, ORDER: differs from config/examples/ in {sorted(found ^ set(ORDER))}")
    lines = [head("Examples", "config/examples/ and the output of `check`"), INTRODUCTION]
    for name in ORDER:
        path = FOLDER / name
        lines += [f"\n## {title_of(path)}\n", "```yaml", f'--8<-- "{path.relative_to(ROOT)}"', "```\n"]
        for other in sorted(each for each in path.parent.glob("*.yaml") if path.parent != FOLDER and each != path):
            lines += [f"`{other.relative_to(ROOT)}`:\n", "```text", f'--8<-- "{other.relative_to(ROOT)}"', "```\n"]
        lines += ["```text", f"$ streamcanary check -c {path.relative_to(ROOT)}", check_output(path), "```"]
    return "\n".join(lines) + "\n"


def title_of(path: Path) -> str:
    """Return what the second comment of an example begins with, up to the colon."""
    match = re.match(r"# yaml-language-server: [^\n]+\n#\n# ([^:\n]+):", path.read_text(encoding="utf-8"))
    if match is None:
        raise Stale(f"{path.relative_to(ROOT)}: must begin with the line of the schema, `#`, and `# TITLE: …`")
    return match[1]


def check_output(path: Path) -> str:
    """Return what ``check`` prints for an example, with paths below the repository."""
    output, errors = io.StringIO(), io.StringIO()
    arguments = parser().parse_args(["check", "-c", str(path)])
    with mock.patch.dict(os.environ, VARIABLES, clear=True), redirect_stdout(output), redirect_stderr(errors):
        code = check(arguments)
    if code:
        raise Stale(f"{path.relative_to(ROOT)}: {errors.getvalue()}")
    return output.getvalue().replace(f"{ROOT}/", "").rstrip()
