"""Recurring maintenance windows that mute alerts: the `alerts.maintenance` section."""

from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from streamcanary.model.alerts.matcher import Matchers
from streamcanary.model.config_types.duration import PositiveDuration
from streamcanary.model.schedules.cron import Cron, check_expression, check_timezone


class Maintenance(BaseModel):
    """A recurring window: it opens at each time of ``cron`` in ``timezone`` and stays open ``for`` seconds.

    It mutes the alerts that all matchers of ``match`` match, as a silence does. Receivers that were notified before
    still get the resolve. An alert that still fires when the window closes is notified then.
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
        """Return whether the window is open at ``now`` (seconds since the epoch)."""
        return self.schedule.nth_run_after(now - self.length, 1) <= now

    @cached_property
    def schedule(self) -> Cron:
        """The times at which the window opens."""
        return Cron.parse(self.cron, self.timezone)
