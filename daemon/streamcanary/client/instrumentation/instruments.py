"""The tracer and the metric instruments of a client."""

from opentelemetry import metrics, trace

from streamcanary import __version__
from streamcanary.client.instrumentation.response_models import MAX_RESPONSE_MODELS, ResponseModels
from streamcanary.model import names


class Instruments:
    """The tracer and the metric instruments of a client, shared by its calls.

    ``time_per_chunk`` adds the histogram that is recorded at every chunk. ``captures_content``: whether spans have
    prompts and answers. ``max_response_models``: how many models that answer become labels; ``response_models`` is
    ``None`` with 0.
    """

    def __init__(
        self,
        *,
        time_per_chunk: bool = False,
        captures_content: bool = False,
        max_response_models: int = MAX_RESPONSE_MODELS,
    ) -> None:
        self.captures_content = captures_content
        self.response_models = ResponseModels(max_response_models) if max_response_models else None
        self.tracer = trace.get_tracer(names.INSTRUMENTATION_SCOPE, __version__)
        meter = metrics.get_meter(names.INSTRUMENTATION_SCOPE, __version__)

        def histogram(metric: names.Metric) -> metrics.Histogram:
            return meter.create_histogram(
                metric.name,
                metric.unit,
                metric.description,
                explicit_bucket_boundaries_advisory=metric.buckets,
            )

        self.operation_duration = histogram(names.OPERATION_DURATION)
        self.time_to_first_chunk = histogram(names.TIME_TO_FIRST_CHUNK)
        self.time_per_output_chunk = histogram(names.TIME_PER_OUTPUT_CHUNK) if time_per_chunk else None
        self.token_usage = histogram(names.TOKEN_USAGE)
        self.attempt_duration = histogram(names.ATTEMPT_DURATION)
        self.phase_duration = histogram(names.PHASE_DURATION)
        self.max_gap = histogram(names.MAX_GAP)
        self.median_gap = histogram(names.MEDIAN_GAP)
        self.output_speed = histogram(names.OUTPUT_SPEED)
        self.retry_delay = histogram(names.RETRY_DELAY)
        self.first_token = histogram(names.FIRST_TOKEN_TIME)
        self.attempts = meter.create_counter(names.ATTEMPTS.name, names.ATTEMPTS.unit, names.ATTEMPTS.description)
        self.connections = meter.create_counter(
            names.CONNECTIONS.name, names.CONNECTIONS.unit, names.CONNECTIONS.description
        )
        self.streams_active = meter.create_up_down_counter(
            names.STREAMS_ACTIVE.name, names.STREAMS_ACTIVE.unit, names.STREAMS_ACTIVE.description
        )
