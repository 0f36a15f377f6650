"""All imports of the generators from streamcanary, so that a moved module affects this file only."""

from pathlib import Path
from types import ModuleType
from typing import get_args

from streamcanary import (
    AsyncStreamClient,
    BreakerPolicy,
    Cached,
    Limits,
    RetryBudget,
    RetryPolicy,
    Route,
    StreamClient,
    Timeouts,
    events,
)
from streamcanary.alerting.builtin_rules import BUILTIN_RULES, NO_DATA
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.detectors import Detector
from streamcanary.alerting.measures import Measure
from streamcanary.alerting.notify.annotation_templates import TEMPLATE_FIELDS
from streamcanary.alerting.prometheus.fleet_rules import FleetRuleOptions, export_fleet_rules
from streamcanary.alerting.prometheus.promql import alert_active_expression
from streamcanary.alerting.prometheus.rule_export import export_rules
from streamcanary.canary.spec import _RESERVED_PARAMETERS as RESERVED_PARAMETERS
from streamcanary.cli.commands import VERBS
from streamcanary.cli.commands.configuration.check import main as check
from streamcanary.cli.main import create_parser as parser
from streamcanary.client.core.request import accepted_parameters
from streamcanary.model import faults, names
from streamcanary.model.alerts.matcher import Matcher
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.duration import Duration, PositiveDuration, format_duration
from streamcanary.model.config_types.fraction import Fraction, format_fraction
from streamcanary.model.config_types.secret import Secret
from streamcanary.model.faults import FAULT_PROPERTIES, FaultKind
from streamcanary.model.prometheus_names import metric_name as prometheus_name
from streamcanary.model.replicas import SHARDS
from streamcanary.reload.plan import RELOADABLE_KEYS, RESTART_KEYS
from streamcanary.settings import Settings
from streamcanary.telemetry.otlp.log_export import event_name
from streamcanary.web.api.openapi import openapi_document
from streamcanary.web.api.table import described_endpoints as api_endpoints

__all__ = [
    "API",
    "BUILTIN_RULES",
    "CANARY_INFO",
    "EVENTS",
    "EVENTS_MODULE",
    "FAULT_PROPERTIES",
    "NO_DATA",
    "PACKAGE",
    "RELOADABLE_KEYS",
    "RESERVED_PARAMETERS",
    "RESTART_KEYS",
    "SHARDS",
    "SOURCE",
    "TEMPLATE_FIELDS",
    "VERBS",
    "AlertsConfig",
    "AsyncStreamClient",
    "BreakerPolicy",
    "Cached",
    "Canary",
    "Duration",
    "FaultKind",
    "FleetRuleOptions",
    "Fraction",
    "Limits",
    "Matcher",
    "Measure",
    "PositiveDuration",
    "RetryBudget",
    "RetryPolicy",
    "Route",
    "Secret",
    "Settings",
    "StreamClient",
    "Timeouts",
    "accepted_parameters",
    "alert_active_expression",
    "api_endpoints",
    "check",
    "detector_types",
    "event_name",
    "export_fleet_rules",
    "export_rules",
    "faults",
    "format_duration",
    "format_fraction",
    "names",
    "openapi_document",
    "parser",
    "prometheus_name",
    "source_of",
]

SOURCE = Path(events.__file__).parent
"""The folder of the package."""

API = {
    "Clients": ("AsyncStreamClient", "StreamClient"),
    "Streams": ("AsyncStream", "Stream"),
    "Results": (
        "StreamResult",
        "StreamFailed",
        "Attempt",
        "PhaseDurations",
        "OutputSpeed",
        "RateLimits",
        "Quota",
        "Retirement",
        "Usage",
    ),
    "Faults": ("Fault", "FaultKind", "Blame", "Phase"),
    "Policies": ("RetryPolicy", "OnPartial", "Timeouts", "Limits", "RetryBudget", "BreakerPolicy"),
    "Fallbacks": ("Route", "NonStreaming", "Cached"),
}
"""The public names of the library, by heading of the API reference."""

CANARY_INFO = prometheus_name(names.CANARY_INFO)
"""The metric that each running daemon has for each canary."""

PACKAGE = "streamcanary"
EVENTS_MODULE = events.__name__
EVENTS = tuple(kind.__name__ for kind in get_args(events.Event))
"""The events of a stream."""


def source_of(module: ModuleType) -> str:
    """Return the path of a module below the package, as in ``model/faults.py``."""
    return f"{'/'.join(module.__name__.split('.')[1:])}.py"


def detector_types() -> tuple[str, ...]:
    """Return the types of detectors."""
    models = get_args(get_args(Detector)[0])
    return tuple(get_args(model.model_fields["type"].annotation)[0] for model in models)
