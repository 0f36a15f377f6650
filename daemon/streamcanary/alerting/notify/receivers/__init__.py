"""The types of receivers, one module each.

A receiver is a pydantic model (its configuration) that delivers one immutable value and returns ``Accepted``, ``Retry``
or ``Refused``. It does not depend on incidents, queues or retries.

*Event* receivers are notified of changes through the outbox: ``send(http, message, now)``. *State* receivers are sent
all active alerts periodically: ``post(http, url, alerts, now)``. The settings and properties that all of them share are
in :class:`~streamcanary.alerting.notify.receivers.base.BaseReceiver`.
"""

from typing import Annotated

from pydantic import Field

from streamcanary.alerting.notify.receivers.alertmanager import Alertmanager
from streamcanary.alerting.notify.receivers.apprise import Apprise
from streamcanary.alerting.notify.receivers.pagerduty import PagerDuty
from streamcanary.alerting.notify.receivers.slack import Slack
from streamcanary.alerting.notify.receivers.webhook import Webhook

EventReceiver = PagerDuty | Slack | Webhook | Apprise
StateReceiver = Alertmanager
Receiver = Annotated[PagerDuty | Slack | Webhook | Apprise | Alertmanager, Field(discriminator="type")]
"""Any receiver, distinguished by ``type``."""

__all__ = ["Alertmanager", "Apprise", "EventReceiver", "PagerDuty", "Receiver", "Slack", "StateReceiver", "Webhook"]
