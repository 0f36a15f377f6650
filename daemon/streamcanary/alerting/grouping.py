"""Grouping of alerts into notifications: ``group_by`` and the intervals of a group."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from streamcanary.model.config_types.duration import Duration, PositiveDuration
from streamcanary.model.config_types.label import LabelName


class Grouping(BaseModel):
    """Keys of the ``alerts:`` section that decide which alerts share a notification, and when it is sent.

    Alerts of one route with equal ``group_by`` labels form a group. Event receivers get one notification for a group:
    the first ``group_wait`` seconds after it opens, so that simultaneous failures are one notification; updates at
    most every ``group_interval`` seconds when alerts are added or resolve; and a repeat after ``repeat_interval``
    seconds without changes. The resolve of a group is sent at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    group_by: tuple[LabelName, ...] = ("alert", "provider")
    group_wait: Annotated[Duration, Field(le=3600)] = 10.0
    group_interval: PositiveDuration = 300.0
    repeat_interval: Annotated[PositiveDuration, Field(ge=60)] = 4 * 3600.0
