"""Inputs that any replica passes to the owner of alerting: silences, which are waited for, and diagnoses."""

import asyncio
import logging
from typing import Final

from streamcanary.alerting.service.shared.alert_inputs import AlertInputs
from streamcanary.alerting.service.shared.input_codec import encode_diagnosis
from streamcanary.model.alerts.pending_input import InputKind
from streamcanary.store.errors import StoreFailing

_log = logging.getLogger(__name__)

TIMEOUT: Final = 5.0
"""Seconds for which a silence is waited for."""

MAX_QUEUED_DIAGNOSES: Final = 100
"""How many diagnoses may wait to be written; further ones are dropped. They only explain an alert."""

_POLL_INTERVAL = 0.1  # seconds
_DIAGNOSIS_ATTEMPTS = 5


def unanswered() -> StoreFailing:
    """Return the error of a database that has not answered within :data:`TIMEOUT`."""
    return StoreFailing(f"the database has not answered within {TIMEOUT:g} s; try again")


class InputRequests:
    """Adds inputs to the shared database."""

    def __init__(self, inputs: AlertInputs) -> None:
        self._inputs = inputs
        self._diagnoses: asyncio.Queue[bytes] = asyncio.Queue(MAX_QUEUED_DIAGNOSES)

    async def add_and_wait(self, kind: InputKind, value: bytes) -> None:
        """Add an input, and return once the owner of alerting has evaluated it.

        Raises:
            StoreFailing: if the database fails, or after :data:`TIMEOUT` seconds; the message says what is known.
        """
        added = False
        try:
            async with asyncio.timeout(TIMEOUT):
                number = await self._inputs.add(kind, value)
                added = True
                while await self._inputs.is_pending(number):  # noqa: ASYNC110 - another process deletes it
                    await asyncio.sleep(_POLL_INTERVAL)
        except TimeoutError as error:
            if not added:
                raise unanswered() from error
            raise StoreFailing(
                f"it is stored, but no replica has applied it within {TIMEOUT:g} s; it takes effect when one does"
            ) from error

    def enqueue_diagnosis(self, canary: str, diagnosis: str) -> None:
        """Enqueue a diagnosis without blocking; if too many wait, it is dropped."""
        try:
            self._diagnoses.put_nowait(encode_diagnosis(canary, diagnosis))
        except asyncio.QueueFull:
            _log.warning("diagnosis dropped", extra={"canary": canary})

    async def run(self) -> None:
        """Write diagnoses until cancelled."""
        while True:
            value = await self._diagnoses.get()
            for attempt in range(_DIAGNOSIS_ATTEMPTS):
                try:
                    await self._inputs.add("diagnosis", value)
                    break
                except StoreFailing as error:
                    _log.debug("diagnosis not written", extra={"error": str(error)})
                    await asyncio.sleep(2.0**attempt)
