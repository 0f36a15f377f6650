"""The configuration of the daemon of a soak, and the outages of its provider."""

import json
from typing import Any, Final

from streamcanary.simulator.faults.fault_spec import FAULTS
from support.servers.pagerduty import ROUTING_KEY
from support.servers.receiver import SECRET

OUTAGES: Final = ("500", "stall", "cut", "429-retry-after", "no-headers", "malformed", "reset", "inband-error")
"""What the provider does in the outages, one after the other."""

OUTAGE_EVERY: Final = 20.0  # seconds
_OUTAGE: Final = 7.0  # seconds; alerts fire after two, and resolve after two
_CHANCE: Final = 50  # per cent of the attempts of the others that fail; a run has two


def timeline(seconds: float) -> str:
    """Return a timeline of the simulator with an outage every 20 seconds."""
    phases = [{"at": "0s", "fault": "ok"}]
    for number in range(1, int(seconds / OUTAGE_EVERY) + 1):
        end = number * OUTAGE_EVERY
        phases.append({"at": f"{end - _OUTAGE:g}s", "fault": OUTAGES[number % len(OUTAGES)]})
        phases.append({"at": f"{end:g}s", "fault": "ok"})
    return json.dumps({"model": "sim-timeline", "phases": phases})


def daemon_config(count: int, urls: dict[str, str], version: int) -> dict[str, Any]:
    """Return the configuration of ``count`` canaries. Each ``version`` has a canary of its own, as after a deployment.

    A third of the canaries are in the outages. The others fail now and then, each with another fault of the simulator.
    """
    canaries: dict[str, Any] = {}
    faults = list(FAULTS)
    for number in range(count - 1):
        if number % 3 == 0:
            canaries[f"outage-{number}"] = _canary("sim-timeline", number, kind="outage")
        else:
            fault = faults[number * len(faults) // count]
            canaries[f"some-{fault}-{number}"] = _canary(f"sim-{fault}%{_CHANCE}", number, kind="fault")
    canaries[f"version-{version}"] = _canary("sim-ok", 0, kind=f"v{version}")
    return {
        "targets": {
            "sim": {
                "base_url": urls["provider"],
                "api_key": "sk-soak-Xq7Lw0Zt3Rk9Pm2Vb8Nc5Ys1Dg6Hf4J",
                "provider": "simulator",
                "price": {"input": 0.15, "output": 0.6},
            }
        },
        "canaries": canaries,
        "alerts": _alerts(urls, version),
        "budget": {"usd_per_day": 1000},
        "telemetry": {"otlp": {"endpoint": urls["collector"], "interval": "5s", "timeout": "2s"}},
        "heartbeat": {"url": f"{urls['hook']}/heartbeat", "every": "5s"},
        "store": {"path": "store.db", "keep": "30s"},  # and failures for two minutes
        "web": {"port": 0},
    }


def _canary(model: str, number: int, kind: str) -> dict[str, Any]:
    return {
        "target": "sim",
        "model": model,
        "every": "500ms",
        "connection": "reuse" if number % 2 else "new",
        "timeouts": {"first_token": "200ms", "stall": "200ms", "total": "400ms"},
        "retry": {"max_attempts": 2, "base_delay": "20ms"},
        "labels": {"kind": kind, "group": f"g{number % 4}"},
    }


def _alerts(urls: dict[str, str], version: int) -> dict[str, Any]:
    share = {"type": "ratio", "over": "10s", "threshold": "50%"}
    return {
        "rules": {
            "Fails": {
                "match": ['kind="outage"'],
                "detector": {"type": "consecutive", "failures": 2, "resolve_after": 2},
                "labels": {"severity": "page", "version": f"v{version % 4}"},
            },
            "Spike": {"match": ['kind!="fault"'], "detector": {"type": "spike", "normal": "5%", "spike": "50%"}},
            "GroupFails": {"detector": share, "per": ["group"]},
            "Retries": {"measure": "first_attempts", "detector": {**share, "threshold": "80%"}},
        },
        "receivers": {
            "pager": {"type": "pagerduty", "routing_key": ROUTING_KEY, "url": urls["pager"]},
            "hook": {"type": "webhook", "url": f"{urls['hook']}/hook", "secret": SECRET},
            "prometheus": {"type": "alertmanager", "urls": [urls["hook"]]},
        },
        "routes": [
            {"match": ['severity="page"'], "receivers": ["pager", "prometheus"]},
            {"receivers": ["hook", "prometheus"]},
        ],
        "group_by": ["alert"],
        "group_wait": "1s",
        "group_interval": "2s",
    }
