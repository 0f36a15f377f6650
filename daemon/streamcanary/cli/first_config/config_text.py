"""The text of a first configuration, with comments."""

import re
from typing import Final, NamedTuple

from streamcanary.cli.first_config.answer_error import AnswerError
from streamcanary.cli.first_config.endpoints import Endpoint
from streamcanary.cli.first_config.receivers import ReceiverChoice
from streamcanary.cli.first_config.yaml_text import yaml_text
from streamcanary.model.redaction.key_patterns import mask_key_like

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MAX_MODEL_LENGTH: Final = 200  # characters
_BUDGETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # USD a day
_BUDGET_MARGIN: Final = 1.5  # of the budget over the expected spend: retries

_PONG: Final = ('"Reply with the single word pong. ({nonce})"', "{contains: pong}")
_END: Final = ('"Count from 1 to 10 in words, then write END on a line of its own. ({nonce})"', r"{regex: 'END\W*$'}")

_FEW_RUNS: Final = "{type: consecutive, failures: 3}"
_MANY_RUNS: Final = "{type: spike, normal: 2%, spike: 30%, false_pages: 1 per 365d}"
_SCOPES: Final = "\n      per: [canary, target]   # each canary, and all canaries of a target together"

_TEMPLATE: Final = """\
# Written by `streamcanary init`. Check it, and run it:
#
#     streamcanary check -c {file}
#     streamcanary run -c {file}
#
# ${{VAR}} is replaced from the environment. `streamcanary schema` prints a schema for editors.

targets:
  {target}:
    {address}
    {key}{provider}{price}

canaries:
  chat:
    target: {target}
    model: {model}
    prompt: {prompt}   # {{nonce}}: fresh text, so that no cache answers
    request: {{{parameter}: {tokens}}}{tokens_comment}
    expect: {expect}
    every: {every}
    timeouts: {timeouts}

budget: {budget}   # of all runs, retries included

alerts:
  rules:
    {rule}:
      detector: {detector}{scopes}
      labels: {{severity: page}}
      annotations: {{summary: "{{canary}}: {{bad}} of the last {{total}} runs failed, {{faults}}"}}
{receivers}"""


class Answers(NamedTuple):
    """The answers to the three questions, and the file of the API key if it is not in a variable."""

    endpoint: Endpoint
    model: str
    receiver: ReceiverChoice
    api_key_file: str = ""


def parse_model(answer: str) -> str:
    """Return the name of a model.

    Raises:
        AnswerError: if it cannot be one; the message says what would be right.
    """
    model = answer.strip()
    if not model:
        raise AnswerError("must be the name of a model, as the endpoint lists it at /models")
    if looks_like_key(model):
        raise AnswerError("must be the name of a model; this looks like a key, which comes from a variable or a file")
    if not model.isprintable() or len(model) > _MAX_MODEL_LENGTH:
        raise AnswerError(f"must be one line of at most {_MAX_MODEL_LENGTH} printable characters")
    return model


def looks_like_key(answer: str) -> bool:
    """Return whether an answer has what looks like a key, so that it must not be written to a file."""
    return mask_key_like(answer) != answer


def config_text(answers: Answers, file: str) -> str:
    """Return the text of the configuration; ``file`` is its path in the comment."""
    from streamcanary.canary.config_warnings import is_litellm, is_reasoning_model
    from streamcanary.canary.targets.target import TargetSpec

    endpoint, receiver = answers.endpoint, answers.receiver
    target = TargetSpec.model_validate(
        {"base_url": endpoint.base_url, "provider": endpoint.provider, "api_key": "none"}
    )
    price = None if endpoint.is_free else target.price_of(answers.model)
    may_reason = is_reasoning_model(answers.model)
    tokens = 2000 if may_reason else 256
    seconds = 300 if may_reason else 30
    budget = "{requests_per_minute: 10}"
    if price is not None:
        usd_per_run = price.spend_for(100, tokens).usd
        usd = _budget_for(usd_per_run * 86400 / seconds)
        budget = f"{{usd_per_day: {usd}, requests_per_minute: 10}}"
    prompt, expect = _END if is_litellm(target) else _PONG
    file_key = f"api_key_file: {yaml_text(answers.api_key_file)}"
    return _TEMPLATE.format(
        file=file if file.isprintable() else "FILE",
        target=endpoint.name,
        address=_address(endpoint),
        key=file_key if answers.api_key_file else f"api_key: {endpoint.api_key}",
        provider="" if endpoint.azure_endpoint else f"\n    provider: {yaml_text(endpoint.provider)}",
        price="\n    price: free" if endpoint.is_free else "",
        model=yaml_text(answers.model),
        prompt=prompt,
        parameter=endpoint.token_parameter,
        tokens=tokens,
        tokens_comment="   # reasoning counts" if may_reason else "",
        expect=expect,
        every="5m" if may_reason else "30s",
        timeouts=_timeouts(may_reason=may_reason, is_local=endpoint.is_local),
        budget=budget,
        rule="LLMFailing" if may_reason else "LLMErrorSpike",
        detector=_FEW_RUNS if may_reason else _MANY_RUNS,
        scopes="" if may_reason else _SCOPES,
        receivers=f"  receivers:\n    {receiver.name}: {receiver.settings}\n" if receiver.name else "",
    )


def variables_in(text: str) -> tuple[str, ...]:
    """Return the variables without a default in a configuration, in its order; not those of comments."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return tuple(dict.fromkeys(name for line in lines for name in _VARIABLE.findall(line)))


def _address(endpoint: Endpoint) -> str:
    """Return the lines of the target that say where it is."""
    if not endpoint.azure_endpoint:
        return f"base_url: {yaml_text(endpoint.base_url)}"
    lines = ["type: azure", f"endpoint: {yaml_text(endpoint.azure_endpoint)}"]
    if endpoint.api_version:
        lines.append(f"api_version: {yaml_text(endpoint.api_version)}")
    if endpoint.deployment:
        lines.append(f"deployment: {yaml_text(endpoint.deployment)}   # `model` selects the list price")
    return "\n    ".join(lines)


def _timeouts(*, may_reason: bool, is_local: bool) -> str:
    if may_reason:
        return "{headers: 60s, first_token: 60s, stall: 60s, total: 2m}"
    return "{first_token: 20s, stall: 10s}" if is_local else "{first_token: 10s, stall: 5s}"


def _budget_for(usd_per_day: float) -> int:
    """Return a round budget above the expected spend."""
    return next((each for each in _BUDGETS if each >= usd_per_day * _BUDGET_MARGIN), round(usd_per_day * 2))
