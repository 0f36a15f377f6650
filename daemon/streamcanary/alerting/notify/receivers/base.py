"""The settings that receivers have in common, and what the rest of alerting may know of one."""

from pathlib import Path
from typing import Annotated, ClassVar

import httpx2
from pydantic import BaseModel, ConfigDict, Field

from streamcanary.alerting.notify.receivers.delivery_result import DeliveryResult, Retry
from streamcanary.alerting.notify.receivers.http import post
from streamcanary.alerting.notify.receivers.response_check import ResponseCheck, accept_any_success
from streamcanary.alerting.notify.receivers.url import secret_parts
from streamcanary.model.config_types.duration import PositiveDuration
from streamcanary.model.config_types.secret import Secret, SecretUnreadable
from streamcanary.transport.connection_settings import ConnectionSettings
from streamcanary.transport.tls import TlsFileError, create_tls_context


class BaseReceiver(BaseModel):
    """On what terms a receiver is told.

    ``timeout`` (seconds) bounds one delivery. ``per_minute`` is how many deliveries are begun in a minute at most; the
    others wait for their turn.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    is_state_receiver: ClassVar[bool] = False
    """Whether it is told the state of things again and again, and not of changes."""
    can_deduplicate: ClassVar[bool] = False
    """Whether it knows a group by its key, so that what comes twice, or is called off unasked, does no harm."""
    config_warning: ClassVar[str] = ""
    """What ``check`` warns of, whoever uses it."""

    timeout: Annotated[PositiveDuration, Field(le=60)] = 10.0
    per_minute: Annotated[int, Field(ge=1, le=6000)] = 60

    @property
    def can_reconcile(self) -> bool:
        """Whether it is told of the end of what nobody remembers, after a store was lost."""
        return self.can_deduplicate

    @property
    def connection_settings(self) -> ConnectionSettings:
        """The way to it, if it is told over HTTP."""
        return ConnectionSettings()

    def delivery_obstacle(self) -> str | None:
        """Say what keeps it from being told, as far as can be seen without asking it: a file, mostly. Reads files."""
        return None


class HttpReceiver(ConnectionSettings, BaseReceiver):
    """The same for a receiver that is told over HTTP, with the way to it.

    ``proxy``, ``ca_file``, ``client_cert`` and ``client_key`` are as for a target, and are looked at for each delivery.
    """

    @property
    def connection_settings(self) -> ConnectionSettings:
        """The way to it, which is among its own settings."""
        return self

    def delivery_obstacle(self) -> str | None:
        """Say what keeps it from being told, as far as can be seen without asking it. Reads files."""
        try:
            self.read_secrets()
            if self.tls_files:
                create_tls_context(self)
        except (SecretUnreadable, TlsFileError) as error:
            return str(error)
        except ValueError as error:
            return _secret_file_error(error)
        return None

    def read_secrets(self) -> tuple[str, ...]:
        """Return the secrets that a delivery needs.

        Raises:
            SecretUnreadable: if the file of one cannot be read.
            ValueError: if what it holds is not what it should be.
        """
        return ()

    async def deliver(
        self,
        http: httpx2.AsyncClient,
        url: str,
        content: bytes,
        now: float,
        *,
        headers: dict[str, str] | None = None,
        secrets: tuple[str, ...] = (),
        check_response: ResponseCheck = accept_any_success,
    ) -> DeliveryResult:
        """Post ``content`` on these terms; raises nothing but cancellation. See :func:`post`."""
        try:
            proxy = () if self.proxy is None else secret_parts(self.proxy.reveal())
        except SecretUnreadable as error:
            return Retry(reason=str(error), is_definitely_undelivered=True)
        return await post(
            http,
            url,
            content=content,
            headers=headers or {},
            timeout=self.timeout,
            now=now,
            secrets=(*secrets, *proxy),
            check_response=check_response,
        )


def retry_for_unusable_secret(error: SecretUnreadable | ValueError) -> Retry:
    """Return the answer where a secret cannot be had: later, as the file may be mended."""
    return Retry(
        reason=str(error) if isinstance(error, SecretUnreadable) else _secret_file_error(error),
        is_definitely_undelivered=True,
    )


def _secret_file_error(error: ValueError) -> str:
    # what the configuration itself says was checked when it was loaded
    return f"the content of a file of secrets {error}"


def check_value_or_file(model: BaseModel, *names: str) -> None:
    """Check that each of the secrets ``names`` is given in one way: ``url`` as ``url`` or as ``url_file``.

    Raises:
        ValueError: if one is given in none or in both.
    """
    for name in names:
        if (getattr(model, name) is None) is (getattr(model, f"{name}_file") is None):
            raise ValueError(f"needs exactly one of {name} and {name}_file")


def value_or_file(value: Secret | None, file: Path | None) -> Secret:
    """Return the secret that is given, of the two."""
    return value or Secret(path=file)
