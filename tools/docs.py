"""Write the tables of the documentation that follow from the code; with ``--check``, only tell whether they are stale.

``docs/faults.md`` is made from the tree on top of ``model/faults.py``, which is held against the table in the same
module; the options in ``README.md`` from the signatures and models themselves, with the words below.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import NODEFAULT
from msgspec.structs import FieldInfo, fields
from pydantic import BaseModel

from streamcanary import (
    AsyncStreamClient,
    BreakerPolicy,
    Cached,
    RetryBudget,
    RetryPolicy,
    Route,
    StreamClient,
    Timeouts,
)
from streamcanary.model import faults
from streamcanary.model.faults import FAULT_PROPERTIES, FaultKind

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- options: begin; made by tools/docs.py -->", "<!-- options: end -->"

_GROUP = re.compile(r" {4}[├└]── (?P<when>[a-z ]+?)(?: ·+ phase (?P<phase>[a-z]+))?$")
_KIND = re.compile(r" {4}[│ ] {3}[├└]── (?P<kind>[a-z_]+) +(?P<blame>[a-z]+) +(?P<what>.+)$")

FAULTS_HEAD = """\
# Faults

<!-- Made by tools/docs.py from daemon/streamcanary/model/faults.py: change that, and run `make docs`. -->

Everything that can go wrong with a streamed call, by how far it had come. The kind is the `error.type` of spans and
metrics; the blame says who can mend it. *Again* says whether the same request is sent again on the call's own route, as
long as attempts, budget and time are left; the server's `x-should-retry` and the caller's `on=` overrule it. A fallback
is asked either way, but for these: after `content_policy` only if `on=` says so, after `total_timeout` only `Cached`,
after `cancelled` none.

The phases are all in which a kind occurs: what a server says at once, by its status, it may as well say in its stream.
`status` is that of the answer, as soon as its headers have come: 200 for a stream that breaks.
"""

WORDS: dict[str, dict[str, str]] = {
    "AsyncStreamClient": {
        "retry": "how often to try, and how long to wait in between",
        "timeouts": "five clocks",
        "fallbacks": "what is asked, in order and once each, when the own route has failed",
        "on_partial": 'when an attempt breaks after text: `"restart"` voids it, `"fail"` ends the call; `"buffer"` '
        "delivers only what is whole",
        "on": "asked about each fault of the own route: `True` or `False` to retry or not, seconds or a `timedelta` to "
        "retry after just that wait, `None` to leave it to the client",
        "budget": "tokens that bound the retries of all calls together",
        "breaker": "keeps calls from a route that mostly fails; `None` for none",
        "provider": "`gen_ai.provider.name` on spans and metrics",
        "labels": "go on every metric of ours",
        "lenient": "take `[DONE]` for the end of an answer without a `finish_reason`",
        "time_per_chunk": "record `gen_ai.client.operation.time_per_output_chunk`; nearly doubles the cost of a chunk",
        "secrets": "scrubbed from every message, as keys and tokens are anyway",
        "clock": "where time comes from; for tests",
        "random": "where jitter comes from; for tests",
    },
    "Timeouts": {
        "connect": "s; name, TCP and TLS",
        "headers": "s from the start of the attempt to the headers",
        "first_token": "s from the start of the attempt to the first text, reasoning or tool call",
        "stall": "s between two such; comments, pings and empty deltas do not count, nor does the caller's own time",
        "total": "s for all attempts, the waits between them, and the caller's own time",
    },
    "RetryPolicy": {
        "max_attempts": "on the call's own route, 1 to 20",
        "base_delay": "s; the wait before retry *n* is uniform between 0 and `base_delay · 2ⁿ`, *n* from 0",
        "max_delay": "s; its upper bound. `Retry-After`, in its three spellings, is its lower one",
    },
    "Route": {
        "model": "in place of the call's",
        "client": "another SDK client: another endpoint, another key",
        "overrides": "merged into the arguments of the call",
        "timeouts": "in place of the client's, but for `total`",
        "name": "on attempts, spans and metrics; by default the model",
    },
    "Cached": {
        "max_age": "s; how old an answer may be",
        "max_entries": "answers that are kept, 16 MiB in all",
    },
    "BreakerPolicy": {
        "failure_rate": "share of the calls within `window` that opens the circuit",
        "min_calls": "fewer than these say nothing",
        "window": "s",
        "open_for": "s until one probe at a time is let through; the first that is answered closes the circuit",
    },
    "RetryBudget": {"capacity": "tokens; a retry costs 5, one after a timeout 10, an answer gives back"},
}
_OPTIONS = (Timeouts, RetryPolicy, Route, Cached, BreakerPolicy, RetryBudget)
_SPELLED = {
    "retry": "`RetryPolicy()`",
    "timeouts": "`Timeouts()`",
    "budget": "`RetryBudget()`",
    "breaker": "`BreakerPolicy()`",
}


class Stale(Exception):
    """The documentation, or the words above, do not say what the code does."""


class Row(NamedTuple):
    """One kind of fault, as the tree has it."""

    when: str
    phase: str
    kind: str
    blame: str
    what: str


def rows(tree: str) -> Iterator[Row]:
    """Yield what ``tree`` says of each kind."""
    when, phase = "", ""
    for line in tree.splitlines():
        if group := _GROUP.match(line):
            when, phase = group["when"], group["phase"] or ""
        elif kind := _KIND.match(line):
            yield Row(when, phase, kind["kind"], kind["blame"], kind["what"])


def faults_page() -> str:
    """Return ``docs/faults.md``.

    Raises:
        Stale: if the tree and the table of ``model/faults.py`` differ.
    """
    told = {row.kind: row for row in rows(faults.__doc__ or "")}
    if missing := set(FaultKind) ^ told.keys():
        raise Stale(f"the tree of model/faults.py and FaultKind differ in {', '.join(sorted(missing))}")
    page, before = [FAULTS_HEAD], ""
    for row in told.values():
        nature = FAULT_PROPERTIES[FaultKind(row.kind)]
        if nature.blame != row.blame:
            raise Stale(f"{row.kind} is to be mended by {nature.blame}, not by {row.blame} as its tree says")
        if row.phase and row.phase not in nature.phases:
            raise Stale(f"{row.kind} stands under phase {row.phase} in its tree, and does not occur there")
        if row.when != before:
            page.append(f"\n## {row.when[0].upper()}{row.when[1:]}\n\n")
            page.append("| kind | blame | again | phases | what it is |\n|---|---|---|---|---|\n")
            before = row.when
        again = "yes" if nature.retryable else "no"
        page.append(f"| `{row.kind}` | {row.blame} | {again} | {', '.join(nature.phases)} | {row.what} |\n")
    return "".join(page)


def options_table() -> str:
    """Return the tables of options.

    Raises:
        Stale: if a word is missing, or is of no option.
    """
    both = [inspect.signature(each.__init__).parameters for each in (AsyncStreamClient, StreamClient)]
    if list(both[0]) != list(both[1]):
        raise Stale("AsyncStreamClient and StreamClient take different options")
    given = {name: each.default for name, each in both[0].items() if name not in ("self", "client")}
    lines = list(_table("AsyncStreamClient", given, "`AsyncStreamClient`, `StreamClient`"))
    for each in _OPTIONS:
        lines += _table(each.__name__, _defaults(each), f"`{each.__name__}`")
    return "\n".join(lines)


def _table(name: str, given: dict[str, Any], title: str) -> Iterator[str]:
    words = WORDS[name]
    if odd := given.keys() ^ words.keys():
        raise Stale(f"the words on {name} in tools/docs.py lack, or have too many: {', '.join(sorted(odd))}")
    yield from ("", f"| {title} | default | |", "|---|---|---|")
    for option, default in given.items():
        own = _SPELLED.get(option) if name == "AsyncStreamClient" else None
        yield f"| `{option}` | {own or _spell(default)} | {words[option]} |"


def _defaults(kind: Any) -> dict[str, Any]:
    if issubclass(kind, BaseModel):
        return {name: field.default for name, field in kind.model_fields.items()}
    if kind is RetryBudget:
        return {name: each.default for name, each in inspect.signature(kind).parameters.items()}
    return {field.name: _default(field) for field in fields(kind)}


def _default(field: FieldInfo) -> Any:
    return field.default if field.default is not NODEFAULT else None


def _spell(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return f"`{value}`"
    return f"`{value:g}`" if isinstance(value, (int, float)) else f'`"{value}"`'


def readme(text: str) -> str:
    """Return ``README.md`` with the tables of today.

    Raises:
        Stale: if it has no place for them.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise Stale(f"README.md lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n{options_table()}\n\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Write what has changed; with ``--check``, write nothing and return 1 if something would."""
    try:
        pages = {ROOT / "docs/faults.md": faults_page(), ROOT / "README.md": readme((ROOT / "README.md").read_text())}
    except Stale as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)} does not say what the code does: run `make docs`\n")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(pages[path])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
