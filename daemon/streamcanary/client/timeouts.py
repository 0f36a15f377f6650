"""Timeouts of a call. Does not import ``openai``, so that configuration loads fast."""

from pydantic import BaseModel, ConfigDict

from streamcanary.model.config_types.duration import PositiveDuration


class Timeouts(BaseModel):
    """Five timeouts, in seconds; text such as ``"250ms"`` is accepted too.

    ``connect`` covers name resolution, TCP and TLS. ``headers`` runs from the start of the attempt, so it includes
    connecting. ``first_token`` runs from the start of the attempt to the first content, reasoning or tool call,
    ``stall`` between two of these, and after a ``finish_reason`` until the answer counts as ended. Comments, pings and
    empty deltas reset neither. ``total`` covers all attempts and the waits between them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    connect: PositiveDuration = 5.0
    headers: PositiveDuration = 30.0
    first_token: PositiveDuration = 30.0
    stall: PositiveDuration = 15.0
    total: PositiveDuration = 120.0

    @property
    def upper_bounds(self) -> dict[str, float]:
        """The largest values, in seconds, that the timings of an answer can have without a timeout."""
        return {
            "first_token": min(self.first_token, self.total),
            "max_gap": min(self.stall, self.total),
            "duration": self.total,
        }
