"""The verb ``init``: questions on a terminal, options, what is written, messages and exit codes."""

import os
import pty
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamcanary.settings import load
from support.programs.daemon import run_command
from support.servers.provider import FakeProvider

ALL = ("--base-url", "ollama", "--model", "llama3.2", "--receiver", "slack")
SLACK = {"SLACK_URL": "https://hooks.slack.com/services/T000/B000/XXXX"}


def init(folder: Path, *arguments: str, answers: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the verb in ``folder``, without a terminal, or on one where ``answers`` are typed."""
    command = [sys.executable, "-m", "streamcanary", "init", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.endswith(("_KEY", "_URL"))}
    options: dict[str, Any] = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": 60}
    if answers is None:
        return subprocess.run(command, check=False, stdin=subprocess.DEVNULL, **options)
    keyboard, terminal = pty.openpty()
    try:
        os.write(keyboard, answers.encode())  # the terminal keeps them until they are read
        return subprocess.run(command, check=False, stdin=terminal, **options)
    finally:
        os.close(keyboard)
        os.close(terminal)


def test_three_questions_are_asked_on_a_terminal(tmp_path):
    """Each question shows its default; the answers are written, and the next commands named."""
    result = init(tmp_path, answers="openrouter\n\nslack\n")
    assert (0, "") == (result.returncode, result.stdout)
    assert "[openai]: " in result.stderr
    assert "Which model? [openai/gpt-4.1-mini]: " in result.stderr
    assert result.stderr.endswith(
        "wrote streamcanary.yaml\nnext:\n  export OPENROUTER_API_KEY=…\n  export SLACK_URL=…\n"
        "  streamcanary check -c streamcanary.yaml\n  streamcanary run -c streamcanary.yaml\n"
    )
    settings = load(tmp_path / "streamcanary.yaml", {"OPENROUTER_API_KEY": "sk-or-1234", **SLACK})
    assert (["openrouter"], ["chat"]) == (list(settings.targets), list(settings.alerts.receivers))
    assert "openai/gpt-4.1-mini" == settings.canaries["chat"].model


def test_a_wrong_answer_is_asked_again(tmp_path):
    """It says what would be right, and asks the same question again."""
    result = init(tmp_path, answers="api.openai.com\nopenai\n\nmail\nnone\n")
    assert 0 == result.returncode, result.stderr
    assert "  It must start with http:// or https://, such as https://api.openai.com/v1, or be one of " in result.stderr
    assert "  It must be one of pagerduty, slack, webhook, alertmanager=URL or none." in result.stderr
    assert 2 == result.stderr.count("Which endpoint?") == result.stderr.count("Who is notified?")


def test_options_answer_their_questions(tmp_path):
    """Only what is not given is asked."""
    result = init(tmp_path, "--base-url", "ollama", "--receiver", "none", answers="mistral\n")
    assert (0, 1, 0) == (result.returncode, result.stderr.count("Which model?"), result.stderr.count("Which endpoint?"))
    assert "mistral" == load(tmp_path / "streamcanary.yaml", {}).canaries["chat"].model


def test_after_five_wrong_answers_it_ends(tmp_path):
    """The questions are not asked for ever."""
    result = init(tmp_path, answers="x\n" * 9)
    assert (2, 5) == (result.returncode, result.stderr.count("Which endpoint?"))
    assert result.stderr.endswith("streamcanary: 5 wrong answers; --base-url takes the same answer\n")
    assert [] == list(tmp_path.iterdir())


def test_the_end_of_input_cancels(tmp_path):
    """Ctrl-D at a question writes nothing."""
    result = init(tmp_path, answers="openai\n\x04")
    assert (1, True) == (result.returncode, result.stderr.endswith("streamcanary: nothing is written\n"))
    assert [] == list(tmp_path.iterdir())


def test_without_a_terminal_it_names_the_missing_options(tmp_path):
    """It does not wait for input that nobody can give."""
    result = init(tmp_path, "--model", "m")
    expected = "needs --base-url and --receiver, because there is no terminal to ask; or --yes for the defaults"
    assert (2, "", f"streamcanary: {expected}\n") == (result.returncode, result.stdout, result.stderr)


def test_with_yes_defaults_are_taken(tmp_path):
    """The defaults are OpenAI, its small model, and no receiver, which it says."""
    result = init(tmp_path, "--yes")
    assert 0 == result.returncode
    assert (
        "nobody is notified yet: `streamcanary alerts` lists alerts, alerts.receivers adds a receiver" in result.stderr
    )
    settings = load(tmp_path / "streamcanary.yaml", {"OPENAI_API_KEY": "sk-0123456789"})
    assert ("gpt-4.1-mini", {}) == (settings.canaries["chat"].model, settings.alerts.receivers)


def test_with_yes_a_model_without_a_default_is_required(tmp_path):
    """No model is invented for an unknown endpoint."""
    result = init(tmp_path, "--yes", "--base-url", "https://llm.example/v1")
    assert (2, "streamcanary: needs --model: this endpoint has no default\n") == (result.returncode, result.stderr)


def test_a_wrong_option_is_refused(tmp_path):
    """The message names the option, and what would be right; nothing is asked."""
    result = init(tmp_path, *ALL[:-1], "https://hooks.slack.com/services/T000/B000/XXXX")
    assert (2, True) == (result.returncode, result.stderr.startswith("streamcanary: --receiver must name the kind"))
    assert "B000" not in result.stderr


@pytest.mark.parametrize("option", ["--model", "--api-key-file"])
def test_a_key_is_no_answer(option, tmp_path):
    """A key in the place of a name or of a path is not written, and not shown."""
    result = init(tmp_path, "--base-url", "openai", "--receiver", "none", option, "sk-proj-0123456789abcdef")
    assert (2, False, []) == (result.returncode, "0123456789" in result.stderr, list(tmp_path.iterdir()))
    assert option in result.stderr


def test_a_file_that_exists_is_kept(tmp_path):
    """Without --force it is not overwritten, also if it is a link to nothing; with it, it is."""
    path = tmp_path / "my config.yaml"
    path.write_text("mine\n")
    result = init(tmp_path, path.name, *ALL)
    expected = "streamcanary: my config.yaml exists; choose another file, or overwrite it with --force\n"
    assert (1, expected, "mine\n") == (result.returncode, result.stderr, path.read_text())
    result = init(tmp_path, path.name, *ALL, "--force")
    assert (0, True) == (result.returncode, "check -c 'my config.yaml'\n" in result.stderr)
    assert ["my config.yaml"] == [each.name for each in tmp_path.iterdir()]
    assert "llama3.2" == load(path, SLACK).canaries["chat"].model
    (tmp_path / "link.yaml").symlink_to("nowhere")
    assert 1 == init(tmp_path, "link.yaml", *ALL).returncode


def test_what_is_not_a_regular_file_is_refused(tmp_path):
    """A pipe is not replaced, with --force or without, and no question is asked first."""
    os.mkfifo(tmp_path / "pipe")
    for options in ((), ("--force",)):
        result = init(tmp_path, "pipe", *options, answers="")
        expected = "streamcanary: cannot write pipe: it is not a regular file; choose another file\n"
        assert (1, expected) == (result.returncode, result.stderr)
    assert [True] == [each.is_fifo() for each in tmp_path.iterdir()]


def test_the_file_has_the_usual_mode(tmp_path):
    """It has no secrets, so that it may be read by those whom the umask allows."""
    init(tmp_path, *ALL)
    mask = os.umask(0)
    os.umask(mask)
    assert 0o666 & ~mask == stat.S_IMODE((tmp_path / "streamcanary.yaml").stat().st_mode)


@pytest.mark.parametrize(
    ("file", "code", "message"),
    [
        (".", 2, "streamcanary: . is a directory; give the path of a file in it\n"),
        (
            "no/such.yaml",
            1,
            "streamcanary: cannot write no/such.yaml: No such file or directory; choose another file\n",
        ),
        ("a" * 300, 1, f"streamcanary: cannot write {'a' * 300}: File name too long; choose another file\n"),
    ],
)
def test_a_path_that_cannot_be_written_is_named(file, code, message, tmp_path):
    """The message has the reason; nothing is left behind."""
    result = init(tmp_path, file, *ALL)
    assert (code, message, []) == (result.returncode, result.stderr, list(tmp_path.iterdir()))


def test_the_key_can_be_in_a_file(tmp_path):
    """The file is relative to the configuration, and must exist."""
    result = init(tmp_path, *ALL, "--api-key-file", "secrets/key")
    assert 2 == result.returncode
    assert result.stderr.startswith("streamcanary: targets.ollama.api_key_file: cannot read the secret file ")
    assert [] == list(tmp_path.iterdir())
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/key").write_text("sk-0123456789\n")
    assert 0 == init(tmp_path, *ALL, "--api-key-file", "secrets/key").returncode
    assert "sk-0123456789" == load(tmp_path / "streamcanary.yaml", SLACK).targets["ollama"].key.reveal()


@pytest.mark.parametrize(("model", "code", "last"), [("sim-ok", 0, "ok"), ("sim-okay", 1, "FAILED")])
async def test_online_checks_the_steps_to_the_endpoint(model, code, last, tmp_path):
    """The file is written in any case; a failed step is named with its remedy, and no answer is asked for."""
    path = tmp_path / "c.yaml"
    async with FakeProvider() as provider:
        options = ("--base-url", provider.base_url, "--model", model, "--receiver", "none", "--online")
        result = await run_command("init", path, *options)
        assert all(request.path.startswith("/v1/models") for request in provider.requests)
    rows = [line.split() for line in result.stderr.splitlines()]
    assert [last, "model"] in [row[:2] for row in rows]
    assert (code, "", True) == (result.code, result.stdout, path.exists())
    assert f"  streamcanary check -c {path}\n" in result.stderr


def test_online_needs_the_key(tmp_path):
    """Without the variable of the key, no step could say more; nothing is written."""
    result = init(tmp_path, "--yes", "--online")
    expected = "streamcanary: --online needs the key of the endpoint: set OPENAI_API_KEY in the environment\n"
    assert (2, expected, []) == (result.returncode, result.stderr, list(tmp_path.iterdir()))
