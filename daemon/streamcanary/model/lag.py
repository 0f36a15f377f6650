"""Decides whether this process was too slow for a time limit to say anything about the provider."""

from typing import Final

from streamcanary.model.faults import Fault, FaultKind, Phase, make_fault

MIN_LAG: Final = 0.25
"""Seconds; less lag than this never explains that a limit was exceeded."""
LAG_SHARE: Final = 0.1
"""The share of a limit that the lag has to reach to explain that the limit was exceeded."""


def explains_excess(lag: float, limit: float) -> bool:
    """Return whether ``lag`` explains that a time exceeded ``limit``, both in seconds.

    Lag is the time by which this process ran late while the time was measured. Every read, and every step of
    connecting, may have waited for it, so the measured time is too long by up to the lag. With less than 0.25 s or a
    tenth of the limit, the provider alone is the better explanation: garbage collection and a busy machine cause lags
    of some ten milliseconds all the time, and an outage must not hide behind them.
    """
    return lag >= min_explaining_lag(limit)


def min_explaining_lag(limit: float) -> float:
    """Return the least lag that explains that a time exceeded ``limit``, both in seconds."""
    return max(MIN_LAG, LAG_SHARE * limit)


def delayed_fault(phase: Phase, timeout: str, lag: float) -> Fault:
    """Return the fault of a ``timeout`` that has passed because this process was late by ``lag`` seconds."""
    message = f"the {timeout} passed, but this process itself was late by {lag:.2f} s meanwhile"
    return make_fault(FaultKind.CLIENT_DELAYED, phase, message)
