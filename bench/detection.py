"""Simulate how soon rules detect outages, and measure what pooled rules and ``check`` cost.

Eight canaries of one target run every 30 s. Runs outside the outage fail at 2 %, independently, and ``spike`` rules
have one false page a year in all. Each outage is simulated 60 times, with a fixed seed, so that the times are the same
on any machine.
"""

import asyncio
import math
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from bench import alerting
from bench.table import Row
from streamcanary.alerting.forecast.shapes import STANDARD_SHAPES, RuleDelays, Shape, ShapeForecast, forecast_shapes
from streamcanary.alerting.rules import Rule
from streamcanary.model.canary import Canary

RUNS = 60
_RESAMPLES = 2000


def _spike(rate: str) -> dict[str, Any]:
    return {"type": "spike", "normal": "2%", "spike": rate, "false_pages": "1 per 365d", "autocorrelation": 0}


RULES: dict[str, dict[str, Any]] = {
    "`spike` per canary": {"detector": _spike("30%")},
    "pooled, 2 → 30 %": {"detector": _spike("30%"), "per": "target"},
    "pooled, 2 → 10 %": {"detector": _spike("10%"), "per": "target"},
    "three in a row": {"detector": {"type": "consecutive", "failures": 3}},
    "ratio 50 %/5 m": {"detector": {"type": "ratio", "over": "5m", "threshold": "50%"}},
    "`per: [canary, target]`": {"detector": _spike("30%"), "per": ["canary", "target"]},
}
"""The rules that are compared, by the heading of their column."""

_COSTLY_RULES: dict[str, dict[str, Any]] = {
    "Once": {"detector": {"type": "consecutive", "failures": 1}},
    "Spike": {"detector": {"type": "spike"}, "per": ["canary", "target"]},
    "Ratio": {"detector": {"type": "ratio", "over": "5m", "threshold": "50%"}},
    "BurnRate": {"detector": {"type": "burn_rate", "objective": "99%"}},
    "PooledRatio": {"detector": {"type": "ratio", "over": "5m", "threshold": "50%"}, "per": "target"},
}


def simulate(shapes: Sequence[Shape] = STANDARD_SHAPES) -> ShapeForecast:
    """Return the simulated delays of all :data:`RULES` and ``shapes``; some ten seconds for the standard outages."""
    canaries = [
        Canary(name=f"canary-{number}", target="openai", provider="openai", model=f"model-{number}", interval=30.0)
        for number in range(8)
    ]
    rules = {name: Rule.model_validate(rule) for name, rule in RULES.items()}
    return forecast_shapes(rules, canaries, shapes, 0.02, runs=RUNS, work=math.inf)


def interval(delays: RuleDelays) -> tuple[float, float] | None:
    """Return the 95 % confidence interval of the median delay in seconds, by the bootstrap; ``None`` if it has none."""
    detected = delays.detected
    if delays.median is None:
        return None
    random = Random(1)  # noqa: S311 - a simulation
    middle = len(detected) // 2
    medians = sorted(sorted(random.choices(detected, k=len(detected)))[middle] for _ in range(_RESAMPLES))
    return medians[int(0.025 * _RESAMPLES)], medians[int(0.975 * _RESAMPLES)]


def cell(delays: RuleDelays) -> str:
    """Return the median in seconds with its confidence interval, and the part that is detected if not all are."""
    share = f" ({delays.detected_share:.0%})" if delays.detected_share < 1 else ""
    if (found := interval(delays)) is None:
        return f"-{share}"
    low, high = found
    return f"{delays.median:,.0f} s [{low:,.0f}, {high:,.0f}]{share}"


def rows() -> list[Row]:
    """Return the simulated delays, and the cost of rules and of ``check``."""
    found = simulate()
    return [
        *(
            Row(f"{shape.text}: {rule}", cell(found.delays[rule, shape]))
            for shape in found.shapes
            for rule in found.rules
        ),
        check(),
        *pooled_rules(),
    ]


def pooled_rules() -> list[Row]:
    """Run 2,000 canaries of 20 targets with five rules, two of which pool, in real time, for 1.5 minutes."""
    with TemporaryDirectory() as folder:
        [spent, durable, memory] = asyncio.run(alerting.measure(Path(folder), _COSTLY_RULES))
    return [spent._replace(what="2,000 canaries, five rules, two of them pooled: CPU"), durable, memory]


def check(count: int = 1000) -> Row:
    """Return the CPU time of the command ``check``, with its start, for ``count`` canaries and five rules."""
    canaries = "\n".join(
        f"  c{number}: {{target: t{number % 20}, model: m{number % 50}, prompt: hi, every: 30s}}"
        for number in range(count)
    )
    targets = "\n".join(f'  t{number}: {{base_url: "http://127.0.0.1:9/v1", api_key: none}}' for number in range(20))
    rules = {**_COSTLY_RULES, "Once": {"detector": {"type": "consecutive", "failures": 2}}}
    lines = "\n".join(f"    {name}: {_flow(rule)}" for name, rule in rules.items())
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(f"targets:\n{targets}\ncanaries:\n{canaries}\nalerts:\n  rules:\n{lines}\n", encoding="utf-8")
        command = [sys.executable, "-m", "streamcanary", "check", "-c", str(path)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Row(f"check with {count:,} canaries, five rules, two of them pooled: CPU", f"{spent:.2f} s", "2 s")


def _flow(rule: dict[str, Any]) -> str:
    """Return a rule as YAML in flow style."""
    per = rule.get("per", "canary")
    scopes = per if isinstance(per, str) else f"[{', '.join(per)}]"
    detector = ", ".join(f"{key}: {value}" for key, value in rule["detector"].items())
    return f"{{detector: {{{detector}}}, per: {scopes}}}"
