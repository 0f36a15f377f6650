"""Base classes of receivers: the settings and properties that all of them share."""

from pathlib import Path
from typing import Annotated, ClassVar

import httpx2
from pydantic import BaseModel, ConfigDict, Field

from streamcanary.alerting.notify.delivery.http import post
from streamcanary.alerting.notify.delivery.receiver_url import secret_parts
from streamcanary.alerting.notify.delivery.response_check import ResponseCheck, accept_any_success
from streamcanary.alerting.notify.delivery.result import DeliveryResult, Retry
from streamcanary.model.config_types.duration import PositiveDuration
from streamcanary.model.config_types.secret import Secret, SecretUnreadable
from streamcanary.transport.connection_settings import ConnectionSettings
from streamcanary.transport.tls import TlsFileError, create_tls_context


class BaseReceiver(BaseModel):
    """The settings of any receiver.

    ``timeout`` (seconds) bounds one delivery. ``per_minute`` is the maximum number of deliveries started in a minute;
    others wait.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    is_state_receiver: ClassVar[bool] = False
    """Whether it is sent all active alerts periodically, instead of being notified of changes."""
    can_deduplicate: ClassVar[bool] = False
    """Whether it identifies a group by its key, so that a repeated notification is harmless."""
    config_warning: ClassVar[str] = ""
    """A warning that ``check`` prints for each receiver of this type."""

    timeout: Annotated[PositiveDuration, Field(le=60)] = 10.0
    per_minute: Annotated[int, Field(ge=1, le=6000)] = 60

    @property
    def can_reconcile(self) -> bool:
        """Whether it is sent resolves of groups that an earlier process may have opened, after a store was lost.

        This is for receivers that ignore a resolve of an unknown group: the process may never have opened it.
        """
        return False

    @property
    def connection_settings(self) -> ConnectionSettings:
        """The connection settings of a receiver that uses HTTP."""
        return ConnectionSettings()

    def delivery_obstacle(self) -> str | None:
        """Return why deliveries would fail, mostly an unreadable file; ``None`` if nothing is found. Reads files."""
        return None


class HttpReceiver(ConnectionSettings, BaseReceiver):
    """The settings of a receiver that uses HTTP, including its connection settings.

    ``proxy``, ``ca_file``, ``client_cert`` and ``client_key`` are as for a target, and are checked for changes before
    each delivery.
    """

    @property
    def connection_settings(self) -> ConnectionSettings:
        """The connection settings, which are among the settings of this receiver."""
        return self

    def delivery_obstacle(self) -> str | None:
        """Return why deliveries would fail, as far as the files show; ``None`` if nothing is found. Reads files."""
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
            ValueError: if its content is invalid.
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
        """Post ``content`` with these settings; raise nothing but cancellation. See :func:`post`."""
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
    """Return the result of a delivery whose secret is unusable: a retry, because the file may be repaired."""
    return Retry(
        reason=str(error) if isinstance(error, SecretUnreadable) else _secret_file_error(error),
        is_definitely_undelivered=True,
    )


def _secret_file_error(error: ValueError) -> str:
    # A secret in the configuration itself was checked when it was loaded.
    return f"the content of a file of secrets {error}"


def check_value_or_file(model: BaseModel, *names: str) -> None:
    """Check that each of the secrets ``names`` is set exactly once: ``url`` as ``url`` or as ``url_file``.

    Raises:
        ValueError: if one is set in neither way or in both.
    """
    for name in names:
        if (getattr(model, name) is None) is (getattr(model, f"{name}_file") is None):
            raise ValueError(f"needs exactly one of {name} and {name}_file")


def value_or_file(value: Secret | None, file: Path | None) -> Secret:
    """Return ``value`` if it is set, otherwise the secret in ``file``."""
    return value or Secret(path=file)
