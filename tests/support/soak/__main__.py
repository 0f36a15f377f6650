"""Run a soak and print its figures; exits with 1 if anything happened that must not.

First a day of many replicas in simulated time, then a real daemon that makes as many runs as it can in some minutes.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Any, get_type_hints

from support.soak.daemon_memory import describe_memory, measure_daemon
from support.soak.scale import SMALL, Scale
from support.soak.simulation import Figures, Simulation

_MAX_SHOWN = 50  # violations


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="make soak ARGS=…", description=__doc__)
    parser.add_argument("--small", action="store_true", help="run the one of `make test`")
    parser.add_argument("--minutes", type=float, default=5.0, help="of the daemon; 0 leaves it out")
    for name, kind in get_type_hints(Scale).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=kind.__name__.upper())
    options: dict[str, Any] = vars(parser.parse_args(arguments))
    minutes: float = options.pop("minutes")
    scale = SMALL if options.pop("small") else Scale()
    scale = scale._replace(**{name: value for name, value in options.items() if value is not None})
    print(f"{scale.canaries} canaries over {scale.replicas} replicas for {scale.hours:g} simulated hours", flush=True)
    figures = Simulation(scale).run()
    print("\n".join(describe(figures)))
    violations = figures.violations
    if minutes:
        print(f"a daemon for {minutes:g} minutes", flush=True)
        memory = asyncio.run(measure_daemon(minutes))
        print("\n".join(describe_memory(memory)))
        violations = [*violations, *filter(None, [memory.problem])]
    for violation in violations[:_MAX_SHOWN]:
        print(f"VIOLATION: {violation}")
    print("ok" if not violations else f"{len(violations)} violations")
    return 1 if violations else 0


def describe(figures: Figures) -> list[str]:
    """Return lines of text."""
    scale, runs = figures.scale, figures.runs
    lines = [
        f"canaries      half of them each {scale.interval / 60:g} min, the others each {scale.interval / 30:g} min",
        f"leases        {scale.lease:g} s, renewed every {scale.poll:g} s",
        f"faults        {_counts(figures.faults)}",
        f"runs          {_counts(runs)}",
        f"longest gap   {figures.longest_gap / 60:.1f} min; {figures.longest_gap_in_intervals:.2f} intervals",
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


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


if __name__ == "__main__":
    sys.exit(main())
