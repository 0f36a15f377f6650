"""The result of diagnosing the connection to an endpoint: ordered steps, of which the first failed one is the cause.

key ─▶ address ─▶ dns ─▶ tcp ─▶ proxy ─▶ tls ─▶ models ─▶ model
"""

from enum import StrEnum

from msgspec import Struct, field

from streamcanary.model.faults import FaultKind


class StepName(StrEnum):
    """The steps, in execution order."""

    KEY = "key"
    """Key and headers are set, and can be sent."""
    ADDRESS = "address"
    """The address is valid, and it is known whether a proxy applies."""
    DNS = "dns"
    """The host name of the endpoint, or of its proxy, resolves."""
    TCP = "tcp"
    """One of the addresses accepts a TCP connection."""
    PROXY = "proxy"
    """The proxy accepts the connection; skipped without a proxy."""
    TLS = "tls"
    """The certificate is valid; skipped for ``http://``."""
    MODELS = "models"
    """``GET /models`` succeeds with the key."""
    MODEL = "model"
    """The endpoint knows the model."""


class StepState(StrEnum):
    """The result of a step."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    """Not needed, or not tried because an earlier step failed."""
    UNKNOWN = "unknown"
    """The endpoint gives no information; the step has not failed."""


class DiagnosisStep(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of one step. ``seconds`` is its duration.

    ``message`` (``says`` in JSON) is the finding and ``remedy`` the advice, both for people: without secrets and
    control characters, at most 500 characters each. ``kind`` is set if the step failed, ``status`` and ``request_id``
    if there was an HTTP response.
    """

    name: StepName
    state: StepState
    seconds: float = 0.0
    message: str = field(default="", name="says")
    remedy: str = ""
    kind: FaultKind | None = None
    status: int | None = None
    request_id: str | None = None

    def __str__(self) -> str:
        advice = f"; {self.remedy}" if self.remedy else ""
        return f"{self.name} {self.state}: {self.message}{advice}"


class Certificate(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The certificate that an endpoint presents, valid or not.

    ``expires`` is in seconds since the epoch, ``days_left`` as of the diagnosis, negative once it has expired.
    ``names`` are the hosts and addresses in it, at most ten.
    """

    subject: str
    issuer: str
    expires: float
    days_left: float
    names: tuple[str, ...] = ()


class Diagnosis(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All steps of the diagnosis of one endpoint and one model, in order.

    ``started`` is wall time (seconds since the epoch), ``seconds`` the duration. ``proxy`` is the address of the proxy
    that applies, without user name and password.
    """

    base_url: str
    model: str
    started: float
    seconds: float
    steps: tuple[DiagnosisStep, ...]
    proxy: str | None = None
    certificate: Certificate | None = None

    @property
    def first_failure(self) -> DiagnosisStep | None:
        """The first failed step; ``None`` if no step failed."""
        return next((step for step in self.steps if step.state is StepState.FAILED), None)

    def __str__(self) -> str:
        return str(self.first_failure or "no step is known to be broken")
