"""The verbs, in packages by purpose: ``arguments.py`` has the parsers of a package, the other modules its code."""

from streamcanary.cli.commands.configuration import arguments as configuration
from streamcanary.cli.commands.history import arguments as history
from streamcanary.cli.commands.operating import arguments as operating
from streamcanary.cli.commands.probing import arguments as probing
from streamcanary.cli.commands.rules import arguments as rules
from streamcanary.cli.commands.running import arguments as running
from streamcanary.cli.commands.shell import arguments as shell

VERBS = {
    verb.name: verb
    for package in (running, probing, configuration, rules, operating, history, shell)
    for verb in package.VERBS
}
"""All verbs by name, in the order of the help."""
