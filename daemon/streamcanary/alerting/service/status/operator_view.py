"""What operators see of the running alerting service besides open incidents and their history."""

from collections.abc import Callable, Mapping, Sequence

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.service.liveness import DeliveryFailure
from streamcanary.alerting.service.status.forecasts import Forecasts
from streamcanary.alerting.service.status.maintenance_windows import maintenance_windows
from streamcanary.alerting.service.status.receiver_status import LastAccepted, receiver_statuses
from streamcanary.alerting.service.status.rule_status import rule_statuses
from streamcanary.alerting.service.status.silence_preview import SilencePreviewer
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.clock import Clock
from streamcanary.model.status.alert_history import MaintenanceWindow, ReceiverStatus, SilencePreview
from streamcanary.model.status.canary_status import RuleStatus


class OperatorView:
    """Rules, receivers, maintenance windows and previews of silences.

    ``current`` returns the configuration, its engine and the committed state; ``failures`` the delivery failures of
    the addresses of each state receiver.
    """

    def __init__(
        self,
        current: Callable[[], tuple[AlertsConfig, Engine, State]],
        failures: Callable[[], Mapping[str, Sequence[DeliveryFailure | None]]],
        clock: Clock,
    ) -> None:
        self._current = current
        self._failures = failures
        self._clock = clock
        self._forecasts = Forecasts()
        self._last_accepted = LastAccepted()
        self._previewer: tuple[Engine, SilencePreviewer] | None = None

    def record_accepted(self, receiver: str) -> None:
        """Record that ``receiver`` has accepted a notification, or the active alerts."""
        self._last_accepted.record(receiver, self._clock.time())

    def rules(self, canary: str) -> tuple[RuleStatus, ...]:
        """Return how far each rule is from firing for ``canary``, with the forecasts that are known already."""
        _, engine, state = self._current()
        return rule_statuses(engine.bindings, canary, state, self._clock.time(), self._forecasts.text)

    async def rules_with_forecasts(self, canary: str) -> tuple[RuleStatus, ...]:
        """Return :meth:`rules` with all forecasts. Those of a rule without a closed form take up to some seconds."""
        _, engine, state = self._current()
        bindings = (*engine.bindings.sample_bindings(canary), *engine.bindings.no_data_bindings(canary))
        await self._forecasts.compute([engine.bindings.with_baseline(one, state.baselines) for one in bindings])
        return self.rules(canary)

    @property
    def receivers(self) -> tuple[ReceiverStatus, ...]:
        """The status of each receiver, in the order of the configuration."""
        config, _, state = self._current()
        return receiver_statuses(config.receivers, state, self._failures(), self._last_accepted)

    @property
    def maintenance(self) -> tuple[MaintenanceWindow, ...]:
        """The maintenance windows that are open, and those of the next 7 days, at most 100."""
        config, _, _ = self._current()
        return maintenance_windows(config.maintenance, self._clock.time())

    @property
    def trace_url(self) -> str | None:
        """The template of links to traces, with ``{trace_id}`` in it."""
        return self._current()[0].trace_url

    def preview_silence(self, silence: Silence) -> SilencePreview:
        """Return what ``silence`` would match now."""
        _, engine, state = self._current()
        if self._previewer is None or self._previewer[0] is not engine:
            self._previewer = engine, SilencePreviewer(engine.bindings, engine.instance)
        return self._previewer[1].preview(silence, state)
