"""The daemon itself: whether runs start in time, and whether it keeps up."""

from streamcanary.model import names

from . import replicas
from .board import Board
from .metrics import RANGE, RATE, heat, increase, quantile, rate, series
from .panels import (
    BAD,
    DATA_AGE,
    GOOD,
    MANY,
    WARNING,
    Steps,
    heat_map,
    lines,
    number,
    query,
    row,
    rows,
    stacked_areas,
    stacked_bars,
)
from .queries import CANARY_VARIABLES, OUTCOME_COLOURS, data_age, total

_OF_DAEMON = f" and on (job, instance) {series(names.BUILD_INFO, selector='')}"
"""Leaves processes out that are no daemon: the metrics of a process have standard names."""
_INSTANCE = "{{instance}}"
_LAG: Steps = ((None, GOOD), (0.05, WARNING), (1, BAD))

_NOW = (
    number("Canaries", "Configured canaries.", total(f"max by (canary) ({series(names.CANARY_INFO)})")),
    number(
        "Runs a minute",
        "Runs that ended, skipped ones included.",
        f"60 * {rate(names.RUNS, '')}",
    ),
    number(
        "Late runs, 99 %",
        "99 % of the runs in the time range started at most this long after they were due.",
        quantile(0.99, names.SCHEDULE_LAG, within=RANGE),
        unit="s",
        steps=_LAG,
        none="none",
    ),
    number(
        "Missed runs",
        "Runs in the time range that were due and did not start.",
        increase(names.RUNS_MISSED, "", within=RANGE),
        steps=MANY,
    ),
    number(
        "Last reload",
        "Whether the daemon runs with the configuration in the file.",
        f"min({series(names.CONFIG_RELOAD_SUCCESSFUL, selector='')})",
        steps=((None, BAD), (1, GOOD)),
        texts={"0": "failed", "1": "ok"},
    ),
    number(
        "Configuration loaded",
        "Time since the configuration was last loaded.",
        f"time() - max({series(names.CONFIG_RELOAD_SUCCESS_TIME, selector='')})",
        unit="s",
    ),
)
_SCHEDULE = (
    heat_map(
        "Schedule lag",
        "Time from when a run was due to its start.",
        query(heat(names.SCHEDULE_LAG)),
    ),
    lines(
        "Schedule lag",
        "Time from when a run was due to its start, of all canaries.",
        query(quantile(0.5, names.SCHEDULE_LAG), "median"),
        query(quantile(0.99, names.SCHEDULE_LAG), "99 %"),
        unit="s",
        steps=_LAG,
    ),
    stacked_bars(
        "Missed runs by reason",
        "Runs that were due and did not start: the daemon was late, the last run had not ended, the limit of the "
        "target was reached, the budget was used up, or the daemon was stopping.",
        query(increase(names.RUNS_MISSED, "reason"), "{{reason}}"),
    ),
    stacked_bars(
        "Runs by outcome",
        "`internal_error` is a fault of the daemon itself, and no sample for alerts.",
        query(increase(names.RUNS, "outcome"), "{{outcome}}"),
        colours=OUTCOME_COLOURS,
    ),
    lines(
        "Shed runs",
        "Share of the due runs that a daemon skips, because it is behind schedule; they are missed runs with the "
        "reason `behind_schedule`.",
        query(f"max by (instance) ({series(names.SCHEDULE_SHED, selector='')})", _INSTANCE),
        unit="percentunit",
        steps=((None, GOOD), (0.001, BAD)),
        width=24,
        height=5,
    ),
)
_PROCESS = (
    rows(
        "Daemons",
        "Each daemon that reported in the time range, and when it did so last. One that has been replaced stays until "
        "the time range is over.",
        {"Last data": (row(data_age()), "s", DATA_AGE)},
        labels=("job", "instance"),
        sort="Last data",
        height=5,
    ),
    lines(
        "Event-loop lag",
        "The longest delay of the event loop in each second. Above 50 ms, measured times are too long.",
        query(quantile(0.5, names.EVENT_LOOP_LAG, selector=""), "median"),
        query(quantile(0.99, names.EVENT_LOOP_LAG, selector=""), "99 %"),
        unit="s",
        steps=_LAG,
    ),
    lines(
        "Open streams",
        "Streams that are open at the time of the export.",
        query(f"sum({series(names.STREAMS_ACTIVE, selector='')})", "streams"),
    ),
    lines(
        "CPU",
        "CPU time a second of the process.",
        query(
            f"sum by (instance) (rate({series(names.PROCESS_CPU_TIME, selector='')}[{RATE}]){_OF_DAEMON})", _INSTANCE
        ),
        unit="percentunit",
    ),
    lines(
        "Memory",
        "Resident memory of the process.",
        query(f"{series(names.PROCESS_MEMORY_USAGE, selector='')}{_OF_DAEMON}", _INSTANCE),
        unit="bytes",
    ),
    lines(
        "Threads and open files",
        "Threads and file descriptors of the process. A number that only grows is a leak.",
        query(f"{series(names.PROCESS_THREADS, selector='')}{_OF_DAEMON}", f"{_INSTANCE}, threads"),
        query(f"{series(names.PROCESS_FILE_DESCRIPTORS, selector='')}{_OF_DAEMON}", f"{_INSTANCE}, files"),
    ),
    lines(
        "Uptime",
        "Time since the start of the process. A fall is a restart.",
        query(f"{series(names.PROCESS_UPTIME, selector='')}{_OF_DAEMON}", _INSTANCE),
        unit="s",
    ),
    stacked_bars(
        "Lost telemetry",
        "Spans, data points and log records that OTLP did not deliver: failed exports, parts that the receiver "
        "rejected, and a full queue.",
        query(increase(names.TELEMETRY_LOST, "signal, reason", selector=""), "{{signal}}, {{reason}}"),
    ),
    stacked_areas(
        "Attempts a second by target",
        "The requests that canaries send.",
        query(rate(names.ATTEMPTS, "target"), "{{target}}"),
        unit="reqps",
    ),
)
BOARD = Board(
    name="daemon",
    title="streamcanary: daemon",
    description="Whether runs start in time, and whether the daemon keeps up.",
    variables=CANARY_VARIABLES,
    rows=(("Now", _NOW), ("Schedule", _SCHEDULE), ("Replicas", replicas.PANELS), ("Process", _PROCESS)),
)
