"""The ``spike`` detector: a Bernoulli CUSUM that detects a change of the error rate at a limited false alarm rate."""

from typing import Literal

from pydantic import model_validator

from streamcanary.alerting.detectors.base import BaseDetector, SampleStream
from streamcanary.alerting.detectors.cusum import Cusum, cusum_for, cusum_step
from streamcanary.alerting.detectors.false_pages import FalsePages, FalsePagesText
from streamcanary.model.config_types.config_issue import ConfigIssue, raise_config_errors
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.config_types.fraction import Fraction, format_fraction

_MAX_STEP = 500


class Spike(BaseDetector):
    """Fires when the samples indicate that the error rate is ``spike`` rather than ``normal``.

    It is the Bernoulli CUSUM (Page 1954; Reynolds and Stoumbos 1999). A bad sample adds the log-likelihood ratio
    ln(spike / normal), a good sample subtracts ln((1 - normal) / (1 - spike)), and the sum never falls below zero. The
    alert fires when the sum reaches a threshold. No other detector with the same rate of false alerts detects such a
    change sooner. It resolves on evidence for ``normal``, see :mod:`streamcanary.alerting.detectors.cusum`: a long
    outage resolves as fast as a short one, and a steady error rate of any size seldom fires three times a day.

    The threshold is computed from ``false_pages`` and the interval of the canary: it is the lowest at which independent
    errors at the rate ``normal`` fire no more often than ``false_pages``. Both steps are in units of the good one; the
    bad one is rounded to an integer, so that the sum is an integer and the rate of false alerts is exact (see
    :mod:`streamcanary.alerting.detectors.cusum_run_length`).
    """

    type: Literal["spike"]
    normal: Fraction = 0.02
    spike: Fraction = 0.3
    false_pages: FalsePagesText = FalsePages(1, 365 * 86400.0)

    @model_validator(mode="after")
    def _check_distinguishable(self) -> "Spike":
        normal, spike = format_fraction(self.normal), format_fraction(self.spike)
        problem = None
        if self.spike <= self.normal:
            problem = f"{spike} is not more than normal ({normal}); write a higher rate"
        elif self.spike == 1:
            problem = "100% is too high: a single good run would rule it out; write 90%, or less"
        elif not self.normal < 1 / (self.step + 1) < self.spike or self.step > _MAX_STEP:
            problem = f"{spike} is too close to normal ({normal}) to be distinguished; write a higher rate"
        if problem:
            raise_config_errors(type(self).__name__, [ConfigIssue(("spike",), problem, conflicts_with=("normal",))])
        return self

    def config_error(self, stream: SampleStream) -> ConfigIssue | None:
        """Return an error if no threshold satisfies ``false_pages``."""
        try:
            self.for_stream(stream)
        except ValueError as error:
            return ConfigIssue(
                ("false_pages",), f"{error} ({stream.subject} runs every {format_duration(stream.interval)})"
            )
        return None

    @property
    def step(self) -> int:
        """The number of good samples that cancel out a bad one."""
        return cusum_step(self.normal, self.spike)

    def for_stream(self, stream: SampleStream) -> Cusum:
        """Return the CUSUM with the threshold for the interval of ``stream`` and its share of ``false_pages``.

        Raises:
            ValueError: if no threshold satisfies ``false_pages``; the message says what to change.
        """
        false_interval = self.false_pages.mean_interval / stream.share
        return cusum_for(self.normal, self.spike, stream.interval, false_interval, 0.0)
