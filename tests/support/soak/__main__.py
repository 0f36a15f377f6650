"""Run the soak and print its figures; exits with 1 if anything happened that must not.

It has two parts, which can be run alone: ``replicas``, a day of many replicas in simulated time, and ``daemon``, a real
daemon that makes as many runs as in a day.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Final, get_type_hints

from support.soak.daemon_day import Day, DayFigures, run_day
from support.soak.daemon_memory import Growth, measure_growth
from support.soak.scale import SMALL, Scale
from support.soak.simulation import Figures, Simulation

_MAX_SHOWN: Final = 50  # violations
_COLUMNS: Final = 12  # samples of the memory of the daemon
_SMALL_DAY: Final = Day(runs=2_000, minutes=2.0, canaries=20)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="make soak ARGS=…", description=__doc__)
    parts = parser.add_subparsers(dest="part", metavar="PART", help="replicas or daemon")
    _add_options(parts.add_parser("replicas"), Scale)
    _add_options(parts.add_parser("daemon"), Day)
    options = vars(parser.parse_args(arguments))
    part, is_small = options.pop("part"), options.pop("small", False)
    sizes = {name: value for name, value in options.items() if value is not None}
    violations: list[str] = []
    if part != "daemon":
        violations += _run_replicas((SMALL if is_small else Scale())._replace(**sizes))
    if part != "replicas":
        violations += _run_daemon((_SMALL_DAY if is_small else Day())._replace(**sizes))
    for violation in violations[:_MAX_SHOWN]:
        print(f"VIOLATION: {violation}")
    print("ok" if not violations else f"{len(violations)} violations")
    return 1 if violations else 0


def _add_options(parser: argparse.ArgumentParser, size: type) -> None:
    """Add an option for each field of ``size``."""
    parser.add_argument("--small", action="store_true", help="as in the tests")
    for name, kind in get_type_hints(size).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=kind.__name__.upper())


def _run_replicas(scale: Scale) -> list[str]:
    print(f"{scale.canaries} canaries over {scale.replicas} replicas for {scale.hours:g} simulated hours", flush=True)
    figures = Simulation(scale, lambda hours, size: print(f"{hours:.1f} h, {size:.0f} MB", file=sys.stderr)).run()
    print("\n".join(describe_replicas(figures)), flush=True)
    return figures.violations


def _run_daemon(day: Day) -> list[str]:
    print(f"a daemon with {day.canaries} canaries for {day.runs} runs, {day.minutes:g} minutes at most", flush=True)
    figures = asyncio.run(run_day(day))
    try:
        growth = measure_growth(figures.samples)
    except ValueError as error:
        return [*figures.problems, str(error)]
    print("\n".join(describe_daemon(figures, growth)), flush=True)
    return [*figures.problems, *filter(None, [growth.problem])]


def describe_replicas(figures: Figures) -> list[str]:
    """Return lines of text."""
    scale, runs = figures.scale, figures.runs
    lines = [
        f"canaries      half of them each {scale.interval / 60:g} min, the others each {scale.interval / 30:g} min",
        f"leases        {scale.lease:g} s, renewed every {scale.poll:g} s",
        f"faults        {_counts(figures.faults)}",
        f"runs          {_counts(runs)}",
        f"longest gap   {figures.longest_gap / 60:.1f} min; {figures.longest_gap_in_intervals:.2f} intervals",
        f"no owner      {figures.longest_unowned:.0f} of {scale.max_unowned:g} s at most, while the database works",
        f"evaluated     {figures.evaluated}, with {figures.repeated_commits} commits repeated after a lost answer",
        f"replicas      {figures.sessions} sessions, {figures.moves} moves of shards",
        f"alerts        {figures.takeovers_of_alerts} takeovers",
        f"pages         {figures.incidents}, each of one outage",
        f"events        {figures.events}: {figures.repeated_events} repeated, {figures.unanswered} not answered",
        f"refused       {figures.refused} events",
    ]
    for rule, seconds in figures.detection.items():
        if seconds:
            middle, longest = sorted(seconds)[len(seconds) // 2], max(seconds)
            lines.append(f"detection     {rule}: {len(seconds)}, median {middle:.0f} s, longest {longest:.0f} s")
    memory = ", ".join(f"{hours:.1f} h {size:.0f}" for hours, size in figures.memory)
    return [
        *lines,
        f"memory (MB)   {memory}",
        f"CPU           {figures.cpu:.0f} s, {figures.turns} turns of event loops",
    ]


def describe_daemon(figures: DayFigures, growth: Growth) -> list[str]:
    """Return lines of text."""
    shown = figures.samples[:: max(1, len(figures.samples) // _COLUMNS)]
    size, allocated, blocks = growth.per_1000_runs
    return [
        f"time          {figures.seconds:.0f} s",
        f"counts        {_counts(figures.counts)}",
        f"memory (MB)   {', '.join(f'{one.runs} runs {one.size:.0f}' for one in shown)}",
        f"in use        {', '.join(f'{one.allocated:.1f} MB {one.blocks / 1000:.0f}k blocks' for one in shown)}",
        f"quarters      {growth.second.size:.1f} MB in the second, {growth.last.size:.1f} MB in the last",
        f"growth        {size:+.3f} MB in 1,000 runs; in use {allocated:+.3f} MB, {blocks:+.0f} blocks",
    ]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


if __name__ == "__main__":
    sys.exit(main())
