"""Keeps the last good run of each canary and its failed ones, within a limit of memory.

Once an eighth of the memory is used, runs are compressed, as what differs from an earlier one: most runs are alike.
When memory is short, the oldest go, in this order: failures that are not the last one of their canary, last good runs,
last failures. So a canary that fails all the time takes no room from the others, and with 10,000 canaries, each still
has its last runs of both kinds.
"""

import zlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from itertools import islice

import msgspec
from msgspec import Struct

from streamcanary.model.outcome import OutcomeKind
from streamcanary.model.run_trace import RunPage, RunSummary, RunTrace

MAX_BYTES = 32 * 1024 * 1024
"""Memory of all runs, in bytes, at most."""
MAX_FAILED_RUNS = 20
"""Failed runs of one canary: the latest, and the first one since the last good run."""

_GOOD = frozenset({OutcomeKind.OK.value, OutcomeKind.SLOW.value})
_FAILED = frozenset({OutcomeKind.FAILED.value, OutcomeKind.FAILED_OVER.value, OutcomeKind.INTERNAL_ERROR.value})
_ENTRY_BYTES = 900  # of a run besides its trace: summary, ids, and its places in the tables
_COMPRESSION_LEVEL = 1
_MAX_DICTIONARY = 32 * 1024  # bytes: zlib looks back no further
_COMPRESSION_THRESHOLD = (
    0.125  # of the memory: below it there is room, and compressing takes more time than all else here
)


_MAX_UNBUILT = 128  # runs whose trace has not been built; their spans take a few kB each
_BUILT_AT_ONCE = 16  # traces that are built one after another, half a millisecond: the CPU has the code in its caches
_UNBUILT_BYTES = 8000  # of the spans of one of them


class _Entry(Struct):
    """A kept run; ``build`` returns its trace as long as ``data`` is empty."""

    number: int
    summary: RunSummary
    data: bytes = b""
    build: Callable[[], RunTrace] | None = None

    @property
    def size(self) -> int:
        return _ENTRY_BYTES + (len(self.data) or _UNBUILT_BYTES) + len(self.summary.message)


class _CanaryRuns(Struct):
    """The kept runs of one canary; of ``failed`` the oldest first.

    ``first_failed`` is the number of the first failed run since the last good one.
    """

    good: _Entry | None = None
    failed: list[_Entry] = []
    first_failed: int | None = None


class RunStore:
    """The kept runs. Not thread-safe: used in the thread of the event loop only.

    ``max_bytes`` limits the memory of all runs; ``max_failed`` the failed runs of each canary.
    """

    def __init__(self, *, max_bytes: int = MAX_BYTES, max_failed: int = MAX_FAILED_RUNS) -> None:
        self._max_bytes = max_bytes
        self._max_failed = max_failed
        self._entries: dict[int, _Entry] = {}  # by number, in the order of their end
        self._by_id: dict[str, _Entry] = {}  # by run id and by trace id
        self._by_canary: dict[str, _CanaryRuns] = {}
        # What goes first when memory is short: the tables in this order, the oldest entry of each.
        self._older_failures: OrderedDict[int, _Entry] = OrderedDict()
        self._last_good: OrderedDict[int, _Entry] = OrderedDict()
        self._last_failures: OrderedDict[int, _Entry] = OrderedDict()
        self._unbuilt: dict[int, _Entry] = {}
        self._dictionary = b""  # of zlib: a trace, as those that are compressed are encoded
        self._last_number = 0
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, trace: RunTrace) -> None:
        """Keep the run; a good one replaces the last good one of its canary. One that was skipped is not kept."""
        if trace.run.outcome in _GOOD | _FAILED:
            self._keep(_Entry(self._next_number(), trace.run, self._encode(trace)))

    def add_finished(self, summary: RunSummary, build: Callable[[], RunTrace]) -> None:
        """Keep a run whose trace ``build`` returns.

        The trace of a good run is built when somebody asks for it: usually the next run replaces it before. That holds
        for the last hundred good runs; the others need less memory with their trace built.
        """
        if summary.outcome not in _GOOD:
            if summary.outcome in _FAILED:
                self.add(build())
            return
        entry = _Entry(self._next_number(), summary, build=build)
        self._unbuilt[entry.number] = entry
        self._keep(entry)
        if len(self._unbuilt) > _MAX_UNBUILT:
            for oldest in list(islice(self._unbuilt.values(), _BUILT_AT_ONCE)):
                self._build(oldest)

    def find(self, id: str) -> RunTrace | None:  # noqa: A002 - the field's name
        """Return the run with this run id or trace id, or ``None`` if it is not kept."""
        entry = self._by_id.get(id)
        if entry is None:
            return None
        self._build(entry)
        data = entry.data
        if not data.startswith(b"{"):
            data = zlib.decompressobj(zdict=self._dictionary).decompress(data)
        return msgspec.json.decode(data, type=RunTrace)

    def _next_number(self) -> int:
        self._last_number += 1
        return self._last_number

    def _keep(self, entry: _Entry) -> None:
        run = entry.summary
        self._entries[entry.number] = entry
        self._by_id[run.run_id] = self._by_id[run.trace_id] = entry
        self.size += entry.size
        runs = self._by_canary.setdefault(run.canary, _CanaryRuns())
        if run.outcome in _GOOD:
            self._add_good(runs, entry)
        else:
            self._add_failed(runs, entry)
        while self.size > self._max_bytes and self._entries:
            self._remove(self._first_to_go())

    def _build(self, entry: _Entry) -> None:
        """Build the trace of ``entry``, if it is not built yet."""
        if entry.build is None:
            return
        self._unbuilt.pop(entry.number, None)
        size = entry.size
        entry.data, entry.build = self._encode(entry.build()), None
        self.size += entry.size - size

    def _encode(self, trace: RunTrace) -> bytes:
        data = msgspec.json.encode(trace)
        if self.size <= self._max_bytes * _COMPRESSION_THRESHOLD:
            return data
        self._dictionary = self._dictionary or data[:_MAX_DICTIONARY]
        compression = zlib.compressobj(_COMPRESSION_LEVEL, zdict=self._dictionary)
        return compression.compress(data) + compression.flush()

    def list_runs(
        self,
        *,
        canary: str | None = None,
        outcomes: Collection[str] = (),
        since: datetime | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> RunPage:
        """Return kept runs, the latest first.

        ``outcomes``: only those, all if empty. ``since``: only runs that started then or later. ``before``: the cursor
        of an earlier page.
        """
        found: list[_Entry] = []
        for entry in self._latest_first(canary):
            run = entry.summary
            if (before is not None and entry.number >= before) or (outcomes and run.outcome not in outcomes):
                continue
            if since is not None and run.started < since:
                continue
            if len(found) == limit:
                return RunPage(runs=[one.summary for one in found], next=found[-1].number)
            found.append(entry)
        return RunPage(runs=[one.summary for one in found])

    def _latest_first(self, canary: str | None) -> Iterator[_Entry]:
        if canary is None:
            return reversed(self._entries.values())
        runs = self._by_canary.get(canary, _CanaryRuns())
        kept = runs.failed if runs.good is None else [*runs.failed, runs.good]
        return iter(sorted(kept, key=lambda entry: entry.number, reverse=True))

    def _add_good(self, runs: _CanaryRuns, entry: _Entry) -> None:
        if runs.good is not None:
            self._remove(runs.good)
            self._by_canary[entry.summary.canary] = runs  # removed with its last run
        runs.good, runs.first_failed = entry, None
        self._last_good[entry.number] = entry

    def _add_failed(self, runs: _CanaryRuns, entry: _Entry) -> None:
        if runs.failed and (last := self._last_failures.pop(runs.failed[-1].number, None)) is not None:
            self._older_failures[last.number] = last
        if runs.first_failed is None:
            runs.first_failed = entry.number
        runs.failed.append(entry)
        self._last_failures[entry.number] = entry
        if len(runs.failed) > self._max_failed:
            self._remove(next(one for one in runs.failed if one.number != runs.first_failed))

    def _first_to_go(self) -> _Entry:
        table = self._older_failures or self._last_good or self._last_failures
        return next(iter(table.values()))

    def _remove(self, entry: _Entry) -> None:
        run = entry.summary
        for table in (self._entries, self._unbuilt, self._older_failures, self._last_good, self._last_failures):
            table.pop(entry.number, None)
        for id in (run.run_id, run.trace_id):  # noqa: A001 - the field's name
            if self._by_id.get(id) is entry:
                del self._by_id[id]
        self.size -= entry.size
        runs = self._by_canary[run.canary]
        if runs.good is entry:
            runs.good = None
        else:
            runs.failed = [one for one in runs.failed if one is not entry]
        if runs.good is None and not runs.failed:
            del self._by_canary[run.canary]
