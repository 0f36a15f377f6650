"""The text that ``init`` writes is a configuration without errors and warnings, for every combination of answers."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcanary.cli.first_config.answer_error import AnswerError
from streamcanary.cli.first_config.config_text import Answers, config_text, parse_model, variables_in
from streamcanary.cli.first_config.endpoints import KNOWN, parse_endpoint
from streamcanary.cli.first_config.receivers import parse_receiver
from streamcanary.cli.first_config.yaml_text import yaml_text
from streamcanary.cli.main import main
from streamcanary.settings import load
from streamcanary.settings_sources.document import read_document
from streamcanary.settings_sources.interpolation import substitute

ENDPOINTS = (*KNOWN, "https://llm.example/v1", "http://gpu:8000/v1", "http://[::1]:8080", "http://litellm.llm/v1")
MODELS = ("gpt-4.1-mini", "gpt-5-mini", "Qwen/Qwen3-8B", "llama3.2:1b", "null", "4", "a: b # c", "${MODEL}", "modèle")
RECEIVERS = ("pagerduty", "slack", "webhook", "alertmanager", "alertmanager=http://a:9093,http://b:9093/x/", "none")
VARIABLES = {
    "PAGERDUTY_KEY": "0123456789abcdef0123456789abcdef",
    "SLACK_URL": "https://hooks.slack.com/services/T000/B000/XXXX",
    "WEBHOOK_URL": "https://example.com/hook",
    "WEBHOOK_SECRET": "whsec_c3RyZWFtY2FuYXJ5IGV4YW1wbGUga2V5ISE=",
}


@pytest.mark.parametrize("receiver", RECEIVERS)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_check_accepts_every_combination_of_answers(endpoint, receiver, tmp_path, monkeypatch, capfd):
    """``check`` has no error, and no warning except that nobody is notified."""
    path = tmp_path / "streamcanary.yaml"
    for model in MODELS[:3]:
        text = config_text(Answers(parse_endpoint(endpoint), parse_model(model), parse_receiver(receiver)), "x.yaml")
        path.write_text(text)
        for name in variables_in(text):
            monkeypatch.setenv(name, VARIABLES.get(name, "sk-0123456789"))
        assert 0 == main(["check", "-c", str(path)])
        warnings = capfd.readouterr().err.splitlines()
        expected = ["alerts.receivers: is empty"] if receiver == "none" else []
        assert len(expected) == len(warnings), (model, warnings)
        assert all(text in line for text, line in zip(expected, warnings, strict=True))


@pytest.mark.parametrize("model", MODELS)
def test_answers_are_in_the_configuration(model, tmp_path):
    """The settings have the answers, whatever characters they contain."""
    answers = Answers(
        parse_endpoint("http://gpu:8000/v1/"), parse_model(model), parse_receiver("alertmanager=http://a:9093")
    )
    (tmp_path / "c.yaml").write_text(config_text(answers, "c.yaml"))
    settings = load(tmp_path / "c.yaml", {})
    (canary,), (receiver,) = settings.canaries.values(), settings.alerts.receivers.values()
    assert (model, ("http://a:9093",)) == (canary.model, receiver.urls)
    assert "http://gpu:8000/v1" == settings.targets[canary.target].base_url


@pytest.mark.parametrize(
    ("model", "tokens", "every"), [("gpt-4.1-mini", 256, 30.0), ("gpt-5-mini", 2000, 300.0), ("openai/o3", 2000, 300.0)]
)
def test_a_reasoning_model_gets_tokens_and_time(model, tokens, every, tmp_path):
    """A model that reasons gets 2,000 tokens, a minute to begin, and fewer runs."""
    answers = Answers(parse_endpoint("openai"), model, parse_receiver("none"))
    (tmp_path / "c.yaml").write_text(config_text(answers, "c.yaml"))
    canary = load(tmp_path / "c.yaml", {"OPENAI_API_KEY": "sk-0123456789"}).canaries["chat"]
    assert ({"max_completion_tokens": tokens}, every) == (canary.request, canary.every)


@pytest.mark.parametrize(
    ("endpoint", "key", "is_free", "has_budget"),
    [
        ("openai", "${OPENAI_API_KEY}", False, True),
        ("https://api.openai.com/v1", "${OPENAI_API_KEY}", False, True),
        ("https://openrouter.ai/api/v1", "${OPENROUTER_API_KEY}", False, False),
        ("https://llm.example/v1", "${LLM_API_KEY}", False, False),
        ("https://x.openai.azure.com", "${AZURE_OPENAI_API_KEY}", False, True),
        ("https://x.openai.azure.com/openai/v1/", "${AZURE_OPENAI_API_KEY}", False, True),
        ("http://10.0.0.5:8000/v1", "${LLM_API_KEY:-none}", True, False),
        ("http://llm.internal/v1", "${LLM_API_KEY:-none}", True, False),
        ("http://gpu:11434/v1", "none", True, False),
        ("http://vllm-0.vllm.svc:8000/v1", "${VLLM_API_KEY:-none}", True, False),
        ("http://proxy:4000", "${LITELLM_KEY}", False, True),
    ],
)
def test_an_endpoint_is_recognized_by_its_address(endpoint, key, is_free, has_budget):
    """The key, the price and the budget fit: a private network is free, a budget in USD needs a known price."""
    text = config_text(Answers(parse_endpoint(endpoint), "gpt-4.1-mini", parse_receiver("none")), "c.yaml")
    assert (True, is_free, has_budget) == (f"api_key: {key}\n" in text, "price: free" in text, "usd_per_day" in text)


def test_behind_litellm_the_end_of_the_answer_is_checked():
    """A proxy that completes truncated answers gets a canary with a condition on the last line."""
    for endpoint, condition in (("litellm", "END"), ("http://proxy:4000", "END"), ("openai", "contains: pong")):
        text = config_text(Answers(parse_endpoint(endpoint), "gpt-4.1-mini", parse_receiver("none")), "c.yaml")
        assert condition in text.partition("expect:")[2].partition("\n")[0]


@pytest.mark.parametrize(
    ("parse", "answer", "message"),
    [
        (parse_endpoint, "api.openai.com", "must start with http:// or https://, such as https://api.openai.com/v1"),
        (parse_endpoint, "", "must start with http:// or https://"),
        (parse_endpoint, "https://", "has no host"),
        (parse_endpoint, "https://x.example/v1?key=1", "must not contain ? or #"),
        (parse_endpoint, "https://me:secret@x.example", "must not contain a user name or password"),
        (
            parse_endpoint,
            "https://x.example/v1/chat/completions",
            "must be the address before /chat/completions: https://x.example/v1",
        ),
        (parse_endpoint, "https://x.example/\x1b[2J", "must not contain control characters"),
        (
            parse_endpoint,
            "https://x.openai.azure.com/openai/deployments/chat",
            "must be the address of the resource: https://x.openai.azure.com; the model is the deployment",
        ),
        (
            parse_endpoint,
            "https://x.openai.azure.com/openai/deployments/chat/chat/completions?api-version=2024-10-21&key=1",
            "must have no other parameter than api-version",
        ),
        (parse_endpoint, "https://x.openai.azure.com/openai/deployments/c?api-version=newest", "2024-10-21"),
        (
            parse_model,
            "sk-proj-0123456789abcdef",
            "must be the name of a model; this looks like a key, which comes from",
        ),
        (parse_model, "  ", "must be the name of a model"),
        (parse_model, "a\nb", "must be one line of at most 200 printable characters"),
        (parse_model, "m" * 201, "must be one line of at most 200 printable characters"),
        (parse_receiver, "", "must be one of pagerduty, slack, webhook, alertmanager=URL or none"),
        (parse_receiver, "email", "must be one of pagerduty, slack, webhook, alertmanager=URL or none"),
        (parse_receiver, "https://hooks.slack.com/services/T/B/X", "slack or webhook, whose address is a secret"),
        (parse_receiver, "slack=https://hooks.slack.com/services/T/B/X", "must be slack alone: its settings are"),
        (parse_receiver, "alertmanager=", "must have 1 to 16 addresses, such as alertmanager=http://localhost:9093"),
        (
            parse_receiver,
            "alertmanager=a:9093",
            "must be an http:// or https:// address, such as http://localhost:9093",
        ),
    ],
)
def test_a_wrong_answer_has_a_message_that_says_what_is_right(parse, answer, message):
    """The message completes "the answer", names what is right, and has no secret."""
    with pytest.raises(AnswerError) as error:
        parse(answer)
    assert message in str(error.value)
    assert "services/T" not in str(error.value)


@given(st.text(min_size=1).filter(str.isprintable))
def test_any_printable_text_is_read_as_it_is(text):
    """YAML and the substitution of variables give back the text."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.yaml"
        path.write_text(f"a: {yaml_text(text)}\nb: [{yaml_text(text)}]\n")
        data = read_document(path).data
    assert [text, text] == [substitute(data["a"], {}), substitute(data["b"][0], {})]


AZURE_CHAT = "openai/deployments/chat/chat/completions?api-version=2025-01-01-preview"


@pytest.mark.parametrize(
    ("address", "endpoint", "version", "deployment"),
    [
        ("https://x.openai.azure.com", "https://x.openai.azure.com", None, None),
        ("https://x.openai.azure.com/openai/v1", "https://x.openai.azure.com", None, None),
        ("https://x.services.ai.azure.com/openai/v1/responses", "https://x.services.ai.azure.com", None, None),
        ("https://x.cognitiveservices.azure.com/", "https://x.cognitiveservices.azure.com", None, None),
        (
            f"https://x.cognitiveservices.azure.com/{AZURE_CHAT}",
            "https://x.cognitiveservices.azure.com",
            "2025-01-01-preview",
            "chat",
        ),
        (
            "https://x.openai.azure.com/openai/responses?api-version=2025-04-01-preview",
            "https://x.openai.azure.com",
            "2025-04-01-preview",
            None,
        ),
    ],
)
def test_a_resource_of_azure_gets_a_target_of_its_type(address, endpoint, version, deployment, tmp_path):
    """The address of the resource is the endpoint; one of a request, as the portal shows it, has more."""
    parsed = parse_endpoint(address)
    answers = Answers(parsed, parsed.model or "chat-prod", parse_receiver("none"))
    (tmp_path / "c.yaml").write_text(config_text(answers, "c.yaml"))
    settings = load(tmp_path / "c.yaml", {"AZURE_OPENAI_API_KEY": "0123456789"})
    target = settings.targets["azure"]
    assert ("azure", endpoint, version, deployment) == (
        target.type,
        target.endpoint,
        target.api_version,
        target.deployment,
    )
    assert (deployment or "chat-prod") == settings.canaries["chat"].model
    assert f"{target.base_url}" == parsed.base_url
