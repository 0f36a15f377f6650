"""The arguments of the verb ``completion``."""

import argparse

from streamcanary.cli.verb import Verb

_SHELLS = ("bash", "zsh", "fish")


def _add_completion_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=_SHELLS, help="The shell that reads the script.")


VERBS = (
    Verb(
        name="completion",
        module="streamcanary.cli.commands.shell.completion",
        help="Print a script that completes the command line",
        description="Print a script for a shell, which then completes verbs, options and files, and the names of "
        "canaries and receivers in the configuration after -c, or in streamcanary.yaml.",
        examples=(
            "streamcanary completion bash > ~/.local/share/bash-completion/completions/streamcanary",
            "streamcanary completion zsh > ~/.zfunc/_streamcanary",
            "streamcanary completion fish > ~/.config/fish/completions/streamcanary.fish",
        ),
        add_arguments=_add_completion_arguments,
    ),
)
