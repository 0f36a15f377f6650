"""Recurring maintenance windows that mute alerts: the `alerts.maintenance` section."""

from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from streamcanary.model.alerts.matcher import Matchers
from streamcanary.model.config_types.duration import PositiveDuration
from streamcanary.model.cron import Cron, check_expression, check_timezone


class Maintenance(BaseModel):
    """A window that comes again and again: from each point of ``cron`` in ``timezone``, ``for`` so many seconds.

    It mutes the alerts whose labels all of ``match`` match, as a silence does: who was told before is told when it is
    over, and what still fires when the window closes is told then.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: Annotated[Matchers, Field(min_length=1, examples=[['tier="prod"']])]
    cron: Annotated[str, Field(examples=["0 17 * * fri"])]
    timezone: str = "UTC"
    length: Annotated[PositiveDuration, Field(alias="for", le=7 * 86400, examples=["30m"])]

    @field_validator("cron")
    @classmethod
    def _check_cron(cls, value: str) -> str:
        check_expression(value)
        return value

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, value: str) -> str:
        check_timezone(value)
        return value

    def is_open(self, now: float) -> bool:
        """Tell whether the window is open at ``now`` (seconds since the epoch)."""
        return self.schedule.nth_run_after(now - self.length, 1) <= now

    @cached_property
    def schedule(self) -> Cron:
        """When it opens."""
        return Cron.parse(self.cron, self.timezone)
