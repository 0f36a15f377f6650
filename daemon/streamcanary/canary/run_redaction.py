"""Makes the redactor of a canary: what its endpoints send is redacted with the secrets that were sent to them."""

from collections.abc import Mapping

from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import BaseTarget
from streamcanary.model.config_types.config_secrets import ConfigSecrets
from streamcanary.model.redaction.redactor import Redactor, shared_redactor
from streamcanary.transport.proxy import InvalidProxyUrl, proxy_for


class TargetSecrets(ConfigSecrets):
    """The current secrets of ``targets``: keys, headers, access tokens, and the credentials of their proxies."""

    def __init__(self, *targets: BaseTarget) -> None:
        self._targets = targets
        self._proxy_passwords = tuple(dict.fromkeys(filter(None, map(_proxy_password, targets))))
        super().__init__(*targets)

    def __call__(self) -> tuple[str, ...]:
        """Return the secrets."""
        tokens = (token for target in self._targets for token in target.tokens)
        return (*super().__call__(), *self._proxy_passwords, *tokens)


class RunRedactor:
    """Returns the current redactor of the canary ``name`` when called.

    It has the secrets of the canary's target and of those of its fallbacks, which are ``secrets`` if they are given.
    Names of canary, target, provider, host and models are public.
    """

    __slots__ = ("_known", "_public", "_redactor", "secrets")

    _redactor: Redactor

    def __init__(
        self, name: str, spec: CanarySpec, targets: Mapping[str, BaseTarget], secrets: TargetSecrets | None = None
    ) -> None:
        used = {target: targets[target] for target in targets_of(spec)}
        self.secrets = TargetSecrets(*used.values()) if secrets is None else secrets
        self._public = (name, *spec.models, *used, *(public for each in used.values() for public in each.public))
        self._known: tuple[str, ...] | None = None  # the secrets of the redactor

    def __call__(self) -> Redactor:
        """Return the redactor of the current secrets."""
        secrets = self.secrets()
        if secrets != self._known:
            self._known, self._redactor = secrets, shared_redactor(secrets, self._public)
        return self._redactor


def targets_of(spec: CanarySpec) -> tuple[str, ...]:
    """Return the names of the targets of a canary: its own, and those of its fallbacks."""
    return tuple(dict.fromkeys((spec.target, *(each.target for each in spec.fallbacks if each.target))))


def _proxy_password(target: BaseTarget) -> str | None:
    """Return the password of the proxy, which may come from the environment."""
    try:
        proxy = proxy_for(target.base_url, target.proxy)
    except InvalidProxyUrl:
        return None
    return proxy.auth[1] if proxy is not None and proxy.auth is not None else None
