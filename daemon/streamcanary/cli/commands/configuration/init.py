"""The verb ``init``: asks three questions, or takes their answers from options, and writes a first configuration."""

import argparse
import asyncio
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from streamcanary.cli.first_config.answer_error import AnswerError
from streamcanary.cli.first_config.atomic_write import check_is_regular, write_atomically
from streamcanary.cli.first_config.config_text import Answers, config_text, looks_like_key, parse_model, variables_in
from streamcanary.cli.first_config.endpoints import KNOWN, parse_endpoint
from streamcanary.cli.first_config.receivers import CHOICES, parse_receiver
from streamcanary.cli.load_config import UsageError

if TYPE_CHECKING:
    from streamcanary.settings import Settings

_MAX_TRIES: Final = 5  # wrong answers to a question
_MAX_ANSWER: Final = 4096  # characters
_DEFAULT_ENDPOINT: Final = "openai"
_DEFAULT_RECEIVER: Final = "none"
_PLACEHOLDERS: Final = {
    "PAGERDUTY_KEY": "0" * 32,
    "SLACK_URL": "https://example.com/hook",
    "WEBHOOK_URL": "https://example.com/hook",
    "WEBHOOK_SECRET": "whsec_" + "c2VjcmV0" * 4,
}
"""Valid values of variables, with which the text is checked before it is written; others are keys of endpoints."""

T = TypeVar("T")


class _Cancelled(Exception):
    """The input has ended before all questions were answered."""


def main(arguments: argparse.Namespace) -> int:
    """Write the configuration; return 0, 2 for wrong or missing options, or 1: not written, or a failed step online."""
    path: Path = arguments.file
    try:
        _check_path(path, overwrite=arguments.force)
        answers = _answers(arguments)
        text = config_text(answers, shlex.quote(str(path)))
        settings = _check(text, path, _key_environment(answers) if arguments.online else {})
        write_atomically(path, text, overwrite=arguments.force)
    except UsageError as error:
        print(f"streamcanary: {error}", file=sys.stderr)
        return 2
    except _Cancelled:
        print("\nstreamcanary: nothing is written", file=sys.stderr)
        return 1
    except FileExistsError:
        print(f"streamcanary: {path} exists; choose another file, or overwrite it with --force", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"streamcanary: cannot write {path}: {error.strerror}; choose another file", file=sys.stderr)
        return 1
    is_reachable = not arguments.online or asyncio.run(_diagnose(settings))
    _print_next_steps(path, text, has_receiver=bool(answers.receiver.name))
    return 0 if is_reachable else 1


def _check_path(path: Path, *, overwrite: bool) -> None:
    """Check before the questions what else would be found after them.

    Raises:
        UsageError: if the path is a directory.
        FileExistsError: if it exists, and is not to be overwritten.
        OSError: if it is a device, a pipe or a socket, or cannot be reached.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a directory; give the path of a file in it")
    check_is_regular(path)
    if not overwrite and os.path.lexists(path):
        raise FileExistsError


def _answers(arguments: argparse.Namespace) -> Answers:
    """Return the answers from the options, or from the terminal.

    Raises:
        UsageError: if an option is wrong, or missing while no question can be asked.
    """
    if looks_like_key(arguments.api_key_file or ""):
        raise UsageError("--api-key-file must be the path of a file that has the key, and not the key")
    can_ask = sys.stdin is not None and sys.stdin.isatty() and not arguments.yes
    if not can_ask and not arguments.yes:
        names = {"base_url": "--base-url", "model": "--model", "receiver": "--receiver"}
        missing = [option for name, option in names.items() if getattr(arguments, name) is None]
        if missing:
            raise UsageError(
                f"needs {' and '.join(filter(None, (', '.join(missing[:-1]), missing[-1])))}, because there is no "
                "terminal to ask; or --yes for the defaults"
            )
    endpoint = _answer(
        arguments.base_url,
        "--base-url",
        f"Which endpoint? {', '.join(KNOWN)}, or an address such as http://llm.internal:8000/v1",
        parse_endpoint,
        default=_DEFAULT_ENDPOINT,
        can_ask=can_ask,
    )
    model = _answer(arguments.model, "--model", "Which model?", parse_model, default=endpoint.model, can_ask=can_ask)
    receiver = _answer(
        arguments.receiver,
        "--receiver",
        f"Who is notified? {CHOICES}",
        parse_receiver,
        default=_DEFAULT_RECEIVER,
        can_ask=can_ask,
    )
    return Answers(endpoint, model, receiver, arguments.api_key_file or "")


def _answer(
    given: str | None, option: str, question: str, parse: Callable[[str], T], *, default: str, can_ask: bool
) -> T:
    """Return the parsed value of an option, the answer to its question, or its default."""
    if given is not None or not can_ask:
        if given is None and not default:
            raise UsageError(f"needs {option}: this endpoint has no default")
        try:
            return parse(default if given is None else given)
        except AnswerError as error:
            raise UsageError(f"{option} {error}") from None
    for _ in range(_MAX_TRIES):
        answer = _ask(f"{question} [{default}]: " if default else f"{question}: ") or default
        try:
            return parse(answer)
        except AnswerError as error:
            print(f"  It {error}.", file=sys.stderr)
    raise UsageError(f"{_MAX_TRIES} wrong answers; {option} takes the same answer")


def _ask(question: str) -> str:
    """Return the answer to a question; empty for the default."""
    sys.stderr.write(question)
    sys.stderr.flush()
    try:
        line = sys.stdin.readline(_MAX_ANSWER)
    except UnicodeDecodeError:
        return "\ufffd\n"  # no valid answer
    if not line:
        raise _Cancelled
    return line.strip()


def _key_environment(answers: Answers) -> dict[str, str]:
    """Return the variables of the API key, with their values.

    Raises:
        UsageError: if one is not set.
    """
    names = () if answers.api_key_file else variables_in(answers.endpoint.api_key)
    if unset := [name for name in names if not os.environ.get(name)]:
        raise UsageError(f"--online needs the key of the endpoint: set {', '.join(unset)} in the environment")
    return {name: os.environ[name] for name in names}


def _check(text: str, path: Path, environ: dict[str, str]) -> "Settings":
    """Return the settings in the text, checked with values for the variables that are not in ``environ``.

    Raises:
        UsageError: if it is not valid: the file of the key cannot be read.
        OSError: if nothing can be written to the folder.
    """
    from streamcanary.settings import ConfigInvalid, load

    variables = {name: _PLACEHOLDERS.get(name, "key-of-the-endpoint") for name in variables_in(text)} | environ
    trial = path.with_name(f".{path.name}.{os.getpid()}.trial")
    write_atomically(trial, text, overwrite=False)
    try:
        return load(trial, variables)
    except ConfigInvalid as invalid:
        problem = invalid.problems[0]
        raise UsageError(f"{problem.path}: {problem.message}") from None
    finally:
        trial.unlink()


async def _diagnose(settings: "Settings") -> bool:
    """Print the steps to the endpoint; return whether none has failed. Asks for no answer of the model."""
    from streamcanary.canary.preflight import diagnose
    from streamcanary.cli.commands.probing.probe_output import print_diagnosis
    from streamcanary.model.clock import SystemClock
    from streamcanary.model.diagnosis import StepState

    (canary,) = settings.canaries.values()
    diagnosis = await diagnose(settings.targets[canary.target], canary.model, clock=SystemClock())
    with redirect_stdout(sys.stderr):
        print_diagnosis(diagnosis)
    return all(step.state is not StepState.FAILED for step in diagnosis.steps)


def _print_next_steps(path: Path, text: str, *, has_receiver: bool) -> None:
    file = shlex.quote(str(path))
    lines = [f"wrote {path}"]
    if not has_receiver:
        lines.append("nobody is notified yet: `streamcanary alerts` lists alerts, alerts.receivers adds a receiver")
    lines.append("next:")
    lines += [f"  export {name}=…" for name in variables_in(text) if not os.environ.get(name)]
    lines += [f"  streamcanary check -c {file}", f"  streamcanary run -c {file}"]
    print(*lines, sep="\n", file=sys.stderr)
