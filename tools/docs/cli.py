"""Generates the page on the command line: every verb with its arguments, from the parser."""

import argparse
from collections.abc import Iterator

from .page import NONE, code, compare, head, table, words
from .product import VERBS, parser

INTRODUCTION = """
`streamcanary VERB` prints what a program reads to stdout, and everything else to stderr. `streamcanary VERB --help`
shows the same as this page. Every verb exits with 2 if its options or the configuration are invalid. Verbs that send a
request to a running daemon exit with 1 if the daemon cannot be reached or rejects the request, for example because of
an invalid matcher. A verb that is interrupted exits with 130; `run`, `demo` and `simulate` run until then, and
exit as described below.
"""


def verbs() -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of all verbs by name."""
    action = next(each for each in parser()._actions if isinstance(each, argparse._SubParsersAction))
    return dict(action.choices)


def cli_page() -> str:
    """Return ``docs/cli.md``.

    Raises:
        Stale: if a verb lacks its exit codes, or an option a description.
    """
    descriptions = words("cli")
    known = verbs()
    compare("tools/docs/words/cli.yaml, verbs", descriptions["verbs"], known, entry="`exit`")
    undescribed = {
        f"{name} {_spelling(action)}": action
        for name, verb in known.items()
        for action in _actions(verb)
        if not action.help
    }
    compare("tools/docs/words/cli.yaml, options", descriptions["options"], undescribed)
    lines = [head("Command line", "the parser in cli/ and tools/docs/words/cli.yaml"), INTRODUCTION]
    for name, verb in known.items():
        entry = descriptions["verbs"][name]
        lines += [f"\n## {name}\n", f"{' '.join((verb.description or '').split())}\n", "```sh"]
        lines += [*VERBS[name].examples, "```\n"]
        lines += table(("Argument", "Default", "Description"), _rows(name, verb, descriptions["options"]))
        lines += [
            "\nExit codes:\n",
            *table(("Code", "Meaning"), ((str(key), text) for key, text in entry["exit"].items())),
        ]
    return "\n".join(lines) + "\n"


def _actions(verb: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in verb._actions if not isinstance(action, argparse._HelpAction)]


def _rows(name: str, verb: argparse.ArgumentParser, options: dict[str, str]) -> Iterator[tuple[str, ...]]:
    for action in _actions(verb):
        text = action.help or options[f"{name} {_spelling(action)}"]
        choices = f"; one of {', '.join(code(str(each)) for each in action.choices)}" if action.choices else ""
        yield code(_spelling(action)), _default(action), (text % {"default": action.default}).rstrip(".") + choices


def _spelling(action: argparse.Action) -> str:
    if not action.option_strings:
        name = str(action.metavar or action.dest)
        return {"*": f"[{name}…]", "+": f"{name}…", "?": f"[{name}]"}.get(str(action.nargs), name)
    value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    return ", ".join(action.option_strings) + value


def _default(action: argparse.Action) -> str:
    if action.required:
        return "**required**"
    return NONE if action.default in (None, False, "", []) else code(str(action.default))
