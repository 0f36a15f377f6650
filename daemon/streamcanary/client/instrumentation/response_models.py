"""The label of the model that answered, with a bounded number of values."""

from typing import Final

from streamcanary.model.redaction.redactor import scrub

OTHER: Final = "other"
"""The label of models beyond the limit."""

MAX_RESPONSE_MODELS: Final = 16
"""Default of the models that answer for one requested model: a dated version or two is usual, a gateway has more."""

_MAX_REQUEST_MODELS: Final = 1000
_MAX_LENGTH: Final = 100  # characters


class ResponseModels:
    """Gives the model that answered as a label of metrics.

    The provider chooses its name, and could name another one in each answer: each would add a series to each metric.
    At most ``limit`` names for one requested model become labels.

    Raises:
        ValueError: if ``limit`` is negative.
    """

    def __init__(self, limit: int = MAX_RESPONSE_MODELS) -> None:
        if limit < 0:
            raise ValueError(f"max_response_models must be 0 or more, not {limit!r}")
        self._limit = limit
        self._labels: dict[str, dict[str, str]] = {}

    def label_of(self, response_model: str, request_model: str) -> str:
        """Return the label for ``response_model``, redacted; :data:`OTHER` beyond the limits."""
        if response_model == request_model:
            return response_model
        labels = self._labels.get(request_model)
        if labels is None:
            if len(self._labels) >= _MAX_REQUEST_MODELS:
                return OTHER
            labels = self._labels[request_model] = {}
        key = response_model[: 2 * _MAX_LENGTH]
        if key not in labels:
            if len(labels) >= self._limit:
                return OTHER
            labels[key] = scrub(key, limit=_MAX_LENGTH)
        return labels[key]
