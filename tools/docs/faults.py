"""Generates the page on faults: the tree in the docstring of the module, checked against its table, and runbooks."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from .page import Stale, code, compare, head, table, words
from .product import FAULT_PROPERTIES, FaultKind, faults, source_of

_GROUP = re.compile(r" {4}[├└]── (?P<when>[a-z ]+?)(?: ·+ phase (?P<phase>[a-z]+))?$")
_KIND = re.compile(r" {4}[│ ] {3}[├└]── (?P<kind>[a-z_]+) +(?P<blame>[a-z]+) +(?P<what>.+)$")

INTRODUCTION = """
Every failure of a streamed call is a fault of one of these kinds. The kind is `error.type` on spans and metrics, and
the word in notifications. The blame says who can fix it:

| Blame | Who can fix it |
|---|---|
| `config` | you: the configuration, the request, or the key |
| `local` | you: the machine or process that sends the request |
| `network` | the operator of the network between here and the provider |
| `provider` | the provider; you can only route around it |
| `quota` | you, with the provider: rate limit, billing, credit |
| `content` | you: the prompt or the expectation; or the model behaves differently |

*Retry* says whether the same request is sent again on its own route, as long as attempts, retry budget and time are
left. The server's `x-should-retry` and the caller's `on=` take precedence. Fallbacks are tried after any fault, with
these exceptions: after `content_policy` only if `on=` asks for it, after `total_timeout` only `Cached`, after
`cancelled` none.

*Phases* are all phases in which a kind can occur: many errors come either as an HTTP status or inside the stream.

To see a fault on demand, run `streamcanary simulate` and ask for the model in the column *Simulate*. See
[Simulator](simulator.md).
"""
RUNBOOKS = """
## Runbooks

Each section can be the `runbook_url` of a rule. A notification carries what these sections refer to: the counts of
faults, the last message, request ids, trace ids and the diagnosis.

For any fault, first:

1. Read *rescued* in the notification: in that many bad runs a fallback answered, and users may be served.
2. Run the canary by hand, with diagnostics of key, DNS, TCP, proxy, TLS and model:
   `streamcanary probe CANARY -c FILE --diagnose`.
3. Compare with other canaries of the same provider: `streamcanary alerts`.
"""


class Row(NamedTuple):
    """One kind of fault in the tree."""

    when: str
    phase: str
    kind: str
    blame: str
    what: str


def rows(tree: str) -> Iterator[Row]:
    """Yield the kinds in ``tree``."""
    when, phase = "", ""
    for line in tree.splitlines():
        if group := _GROUP.match(line):
            when, phase = group["when"], group["phase"] or ""
        elif kind := _KIND.match(line):
            yield Row(when, phase, kind["kind"], kind["blame"], kind["what"])


def checked(tree: str) -> list[Row]:
    """Return the kinds in ``tree``.

    Raises:
        Stale: if the tree and the table of its module differ.
    """
    found = list(rows(tree))
    if missing := set(FaultKind) ^ {row.kind for row in found}:
        raise Stale(f"the tree of {source_of(faults)} and FaultKind differ in {', '.join(sorted(missing))}")
    for row in found:
        properties = FAULT_PROPERTIES[FaultKind(row.kind)]
        if properties.blame != row.blame:
            raise Stale(f"{row.kind} has blame {properties.blame}, and {row.blame} in its tree")
        if row.phase and row.phase not in properties.phases:
            raise Stale(f"{row.kind} is under phase {row.phase} in its tree, and does not occur there")
    return found


def faults_page() -> str:
    """Return ``docs/faults.md``.

    Raises:
        Stale: if tree, table and runbooks do not have the same kinds.
    """
    found = checked(faults.__doc__ or "")
    descriptions = words("faults")
    compare(
        "tools/docs/words/faults.yaml",
        descriptions,
        {row.kind for row in found},
        entry="`means`, `see`, `do` and `simulate`",
    )
    lines = [head("Faults", f"{source_of(faults)} and tools/docs/words/faults.yaml"), INTRODUCTION]
    for when in dict.fromkeys(row.when for row in found):
        lines.append(f"\n## {when[0].upper()}{when[1:]}\n")
        lines += table(
            ("Kind", "Blame", "Retry", "Phases", "Meaning", "Simulate"),
            (_row(row, descriptions[row.kind].get("simulate", "")) for row in found if row.when == when),
        )
    lines.append(RUNBOOKS)
    for row in found:
        runbook = descriptions[row.kind]
        lines += [f"\n### {row.kind} {{ #{row.kind} }}\n", f"**Blame: {row.blame}.** {runbook['means'].strip()}\n"]
        lines.append(f"*How to see it:* {runbook['see'].strip()}\n")
        lines += ["*What to do:*\n", *(f"{number}. {step}" for number, step in enumerate(runbook["do"], 1))]
    return "\n".join(lines) + "\n"


def _row(row: Row, simulate: str) -> tuple[str, ...]:
    properties = FAULT_PROPERTIES[FaultKind(row.kind)]
    retried = "yes" if properties.retryable else "no"
    return (f"[`{row.kind}`](#{row.kind})", row.blame, retried, ", ".join(properties.phases), row.what, code(simulate))
