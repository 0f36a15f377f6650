"""Parses model names, which select a fault: ``sim-cut``, ``sim-500@2``, ``sim-cut%30``, ``sim-cut%30~7``.

sim-FAULT              always
sim-FAULT@N            the first N requests of this name, then ok
sim-FAULT%P            with a probability of P per cent, else ok; the sequence is the same after every start
sim-FAULT%P~SEED       the same with another sequence
sim-FAULT%P~SEED@N     both: the probability applies to the first N requests
"""

import re
from random import Random
from typing import Final

from msgspec import Struct

from streamcanary.simulator.faults.before_stream import FAULTS_BEFORE_STREAM
from streamcanary.simulator.faults.in_stream import FAULTS_IN_STREAM
from streamcanary.simulator.http.response_writer import Behaviour

MODEL_PREFIX: Final = "sim-"
FAULTS: Final[dict[str, Behaviour]] = {**FAULTS_IN_STREAM, **FAULTS_BEFORE_STREAM}
"""All behaviours by name, without ``sim-``; ``ok`` comes first."""
_MAX_NAMES = 1000
_SYNTAX = re.compile(
    r"(?P<fault>[a-z0-9][a-z0-9-]{0,63})"
    r"(?:%(?P<percent>[0-9]{1,3}(?:\.[0-9]{1,3})?)(?:~(?P<seed>[0-9]{1,9}))?)?"
    r"(?:@(?P<first>[0-9]{1,9}))?"
)


class UnknownFault(ValueError):
    """The name selects no behaviour of the simulator; the message lists the valid ones."""


class FaultSpec(Struct, frozen=True, kw_only=True):
    """A fault and its frequency: ``percent`` of the ``first_requests`` requests, or of all if ``None``."""

    fault: str
    percent: float = 100.0
    seed: int = 0
    first_requests: int | None = None

    @classmethod
    def parse(cls, text: str) -> "FaultSpec":
        """Parse ``text``, a model name without ``sim-``.

        Raises:
            UnknownFault: if it is not a valid fault.
        """
        match = _SYNTAX.fullmatch(text)
        if match is None:
            raise UnknownFault(f"not a fault: {text[:80]!r}; write one like cut, 500@2, cut%30 or cut%30~7")
        fault, percent, seed, first = match.group("fault", "percent", "seed", "first")
        if fault not in FAULTS:
            raise UnknownFault(f"no fault is called {fault!r}; there are: {', '.join(FAULTS)}")
        if percent is not None and float(percent) > 100:
            raise UnknownFault(f"a probability is at most 100 per cent, not {percent}")
        return cls(
            fault=fault,
            percent=100.0 if percent is None else float(percent),
            seed=int(seed or 0),
            first_requests=None if first is None else int(first),
        )


class FaultSelector:
    """Selects the fault of each request; counts the requests of the last 1,000 names."""

    def __init__(self) -> None:
        self._sequences: dict[str, _FaultSequence] = {}

    def next_fault(self, name: str, spec: FaultSpec) -> str:
        """Return the fault to play for the next request of ``name``."""
        sequence = self._sequences.get(name)
        if sequence is None:
            if len(self._sequences) >= _MAX_NAMES:
                del self._sequences[next(iter(self._sequences))]
            sequence = self._sequences[name] = _FaultSequence(spec)
        return sequence.next_fault()


class _FaultSequence:
    """The sequence of faults of one name."""

    def __init__(self, spec: FaultSpec) -> None:
        self._spec = spec
        self._request_count = 0
        self._random = Random(spec.seed)  # noqa: S311 - reproducible on purpose, not used for security

    def next_fault(self) -> str:
        self._request_count += 1
        if self._spec.first_requests is not None and self._request_count > self._spec.first_requests:
            return "ok"
        return self._spec.fault if self._random.random() * 100 < self._spec.percent else "ok"
