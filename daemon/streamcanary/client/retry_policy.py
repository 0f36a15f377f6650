"""How a call retries. Does not import ``openai``, so that configuration loads fast."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from streamcanary.model.config_types.duration import Duration

OnPartial = Literal["restart", "fail", "buffer"]
"""What happens when an attempt fails after part of its answer was delivered.

``"restart"``: a ``Restarted`` event voids the delivered part. ``"fail"``: the call fails. ``"buffer"``: nothing is
delivered until the answer is complete.
"""


class RetryPolicy(BaseModel):
    """Number of attempts, and the waits between them.

    The wait before retry *n* (from 0) is full jitter: uniform between 0 and ``min(max_delay, base_delay * 2**n)``
    seconds (M. Brooker, "Exponential Backoff And Jitter", AWS, 2015). A server's ``Retry-After`` is its lower bound.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    base_delay: Duration = 0.5
    max_delay: Duration = 8.0

    @model_validator(mode="after")
    def _base_within_max(self) -> "RetryPolicy":
        if self.base_delay > self.max_delay:
            raise ValueError(f"base_delay ({self.base_delay:g} s) must not exceed max_delay ({self.max_delay:g} s)")
        return self
