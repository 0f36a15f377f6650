"""Who can be told, one file each.

A receiver is a pydantic model (its configuration) that sends one immutable thing over HTTP and answers
``Accepted``, ``Retry`` or ``Refused``. It knows nothing of incidents, queues or retries.

*Edge* receivers are told of changes, once each, through the outbox; *level* receivers are told the state again and
again.
"""

from typing import Annotated

from pydantic import Field

from streamcanary.alerting.receivers.alertmanager import Alertmanager
from streamcanary.alerting.receivers.webhook import Webhook

EdgeReceiver = Webhook
LevelReceiver = Alertmanager
Receiver = Annotated[Webhook | Alertmanager, Field(discriminator="type")]
"""Any receiver, told apart by its ``type``."""

__all__ = ["Alertmanager", "EdgeReceiver", "LevelReceiver", "Receiver", "Webhook"]
