"""How far the way to an endpoint holds: one step after the other, the first broken one named.

key ─▶ address ─▶ dns ─▶ tcp ─▶ proxy ─▶ tls ─▶ models ─▶ model
"""

from enum import StrEnum

from msgspec import Struct, field

from streamcanary.model.faults import FaultKind


class StepName(StrEnum):
    """The steps, in the order in which they are taken."""

    KEY = "key"
    """Key and headers are there, and can be sent."""
    ADDRESS = "address"
    """The address is one, and it is clear whether a proxy is on the way."""
    DNS = "dns"
    """The name of the endpoint, or of its proxy, has addresses."""
    TCP = "tcp"
    """One of the addresses takes a connection."""
    PROXY = "proxy"
    """The proxy lets us through; skipped without one."""
    TLS = "tls"
    """The certificate is good; skipped for ``http://``."""
    MODELS = "models"
    """``GET /models`` is answered, with our key."""
    MODEL = "model"
    """The endpoint knows the model."""


class StepState(StrEnum):
    """How a step ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    """Not needed here, or not tried because an earlier step is broken."""
    UNKNOWN = "unknown"
    """The endpoint does not tell; nothing is known to be broken."""


class DiagnosisStep(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step. ``seconds`` is how long it took.

    ``message`` (``says`` in JSON) is what was found and ``remedy`` what to do about it, both for people: scrubbed of secrets and control
    characters, at most 500 characters each. ``kind`` is set if it failed, ``status`` and ``request_id`` if there was an
    HTTP answer.
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
    """The certificate that an endpoint shows, good or not.

    ``expires`` is in seconds since the epoch, ``days_left`` as of the diagnosis, negative once it has expired.
    ``names`` are the hosts and addresses that it is for, at most ten.
    """

    subject: str
    issuer: str
    expires: float
    days_left: float
    names: tuple[str, ...] = ()


class Diagnosis(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The steps to one endpoint and one model, all of them, in order.

    ``started`` is wall time (seconds since the epoch), ``seconds`` how long it took. ``proxy`` is the address of the
    proxy on the way, without its user name and password.
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
        """The first broken step; ``None`` if nothing is known to be broken."""
        return next((step for step in self.steps if step.state is StepState.FAILED), None)

    def __str__(self) -> str:
        return str(self.first_failure or "no step is known to be broken")
