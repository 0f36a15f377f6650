"""Who can be told, one file each.

A receiver is a pydantic model (its configuration) that sends one immutable thing and answers ``Accepted``, ``Retry`` or
``Refused``. It knows nothing of incidents, queues or retries.

*Edge* receivers are told of changes, once each, through the outbox: ``send(http, page, now)``. *Level* receivers are
told the state again and again: ``post(http, url, alerts, now)``. What else there is to know of one is in
:class:`~streamcanary.alerting.notify.receivers.base.Terms`.
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
"""Any receiver, told apart by its ``type``."""

__all__ = ["Alertmanager", "Apprise", "EventReceiver", "PagerDuty", "Receiver", "Slack", "StateReceiver", "Webhook"]
