"""The label of the model that answered: a provider cannot add series without limit."""

import pytest
from openai import AsyncOpenAI
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from streamcanary.client.async_client import AsyncStreamClient
from streamcanary.client.instrumentation.call_recorder import CallRecorder
from streamcanary.client.instrumentation.instruments import Instruments
from streamcanary.client.instrumentation.response_models import MAX_RESPONSE_MODELS, OTHER, ResponseModels
from streamcanary.client.result import StreamResult
from streamcanary.model import names
from streamcanary.model.outcome import Usage


def test_usual_names_are_kept() -> None:
    """The requested model and its dated versions keep their names, also after a hostile answer."""
    models = ResponseModels()
    for name in ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"):
        assert name == models.label_of(name, "gpt-4o-mini")
    labels = {models.label_of(f"m-{number}", "gpt-4o-mini") for number in range(1000)}
    assert (MAX_RESPONSE_MODELS, True) == (len(labels), OTHER in labels)
    assert "gpt-4o-mini" == models.label_of("gpt-4o-mini", "gpt-4o-mini")
    assert "gpt-4o-mini-2024-07-18" == models.label_of("gpt-4o-mini-2024-07-18", "gpt-4o-mini")


def test_the_number_of_requested_models_is_bounded() -> None:
    """An application that requests a new model each time does not fill the memory."""
    models = ResponseModels()
    labels = [models.label_of("answered", f"requested-{number}") for number in range(2000)]
    assert (1000, 1000) == (labels.count("answered"), labels.count(OTHER))


def test_a_name_is_bounded_and_redacted() -> None:
    """A megabyte, a control character, or a key that the provider repeats does not become a label."""
    models = ResponseModels()
    assert 100 >= len(models.label_of("x" * 1_000_000, "m"))
    assert "sk-proj-0123456789abcdef" not in models.label_of("sk-proj-0123456789abcdef", "m")
    assert models.label_of("a\nb\x1b[31m", "m").isprintable()


@pytest.mark.parametrize(("limit", "names_of_models"), [(None, MAX_RESPONSE_MODELS + 1), (2, 3), (0, 1)])
def test_hostile_models_do_not_add_series(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, names_of_models: int
) -> None:
    """A provider that names another model in each answer adds as many series as the client allows: none with 0."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    instruments = Instruments() if limit is None else Instruments(max_response_models=limit)
    for number in range(200):
        recorder = CallRecorder(
            instruments,
            model="m",
            labels={},
            request_attributes={names.REQUEST_MODEL: "m"},
            url="http://localhost/v1",
        )
        recorder.call_started(0.0, 0.0)
        result = StreamResult(
            text="pong",
            model=f"hostile-{number}",
            response_id=f"id-{number}",
            duration=1.0,
            time_to_first_token=0.5,
            usage=Usage(input_tokens=1, output_tokens=1),
        )
        recorder.call_succeeded(result, 1.0)
    data = reader.get_metrics_data()
    assert data is not None
    series = {
        metric.name: len(metric.data.data_points)
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        if metric.name.startswith("gen_ai")
    }
    expected = {names.OPERATION_DURATION.name: names_of_models, names.TIME_TO_FIRST_CHUNK.name: names_of_models}
    assert {**expected, names.TOKEN_USAGE.name: 2 * names_of_models} == series
    provider.shutdown()


@pytest.mark.parametrize(("tokens", "recorded"), [(1000, True), (10**9, False)])
def test_an_absurd_number_of_tokens_is_not_recorded(
    monkeypatch: pytest.MonkeyPatch, tokens: int, *, recorded: bool
) -> None:
    """A provider that claims a thousand million tokens does not spoil the sums of the metric."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    recorder = CallRecorder(Instruments(), model="m", labels={}, request_attributes={}, url="http://localhost/v1")
    recorder.call_started(0.0, 0.0)
    usage = Usage(input_tokens=1, output_tokens=tokens)
    recorder.call_succeeded(StreamResult(text="pong", model="m", duration=1.0, usage=usage), 1.0)
    data = reader.get_metrics_data()
    assert data is not None
    found = {metric.name for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    assert recorded is (names.TOKEN_USAGE.name in found)
    provider.shutdown()


def test_a_negative_limit_is_rejected() -> None:
    """The message names the option."""
    with pytest.raises(ValueError, match="max_response_models must be 0 or more, not -1"):
        AsyncStreamClient(AsyncOpenAI(api_key="none"), max_response_models=-1)
