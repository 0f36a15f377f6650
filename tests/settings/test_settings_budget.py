"""Config errors of budgets, prices and schedules."""

from pathlib import Path

import pytest

from streamcanary.settings import ConfigInvalid, load

VALID = """\
targets:
  openai: {api_key: none}
  own: {base_url: "http://127.0.0.1:8080/v1", api_key: none, provider: own}
canaries:
  chat:
    target: openai
    model: gpt-4o-mini
    fallbacks: [{non_streaming: true}, {model: gpt-4.1-mini}]
budget: {usd_per_day: 5, requests_per_minute: 120}
"""


def problems(tmp_path: Path, text: str, **environ: str) -> list[str]:
    """Return the config errors of ``text``, without the path of the file."""
    path = tmp_path / "c.yaml"
    path.write_text(text)
    try:
        load(path, environ)
    except ConfigInvalid as error:
        return [str(problem).removeprefix(f"{path}:") for problem in error.problems]
    return []


def test_a_budget_with_list_prices_is_valid(tmp_path: Path) -> None:
    """Models with a list price need no configured price."""
    assert [] == problems(tmp_path, VALID)


def test_an_unknown_price_with_a_budget_is_an_error(tmp_path: Path) -> None:
    """An unknown price is an error at each model, also of fallbacks; without a budget in USD it is not."""
    text = VALID.replace("gpt-4o-mini", "gpt-no-such-model").replace(
        "{model: gpt-4.1-mini}", "{model: llama, target: own}"
    )
    needs = "has no known price, which budget.usd_per_day requires; set targets.{}.price to USD per million tokens "
    rest = "such as {input: 0.15, output: 0.60}, or to free"
    assert [
        f"7:12: canaries.chat.model: {needs.format('openai')}{rest}",
        f"8:48: canaries.chat.fallbacks[1].model: {needs.format('own')}{rest}",
    ] == problems(tmp_path, text)
    assert [] == problems(tmp_path, text.replace("usd_per_day: 5, ", ""))
    priced = text.replace("api_key: none", "api_key: none, price: free")
    assert [] == problems(tmp_path, priced)


def test_a_price_can_be_set_by_an_override(tmp_path: Path) -> None:
    """A price can be overridden by a variable."""
    text = VALID.replace("gpt-4o-mini", "gpt-no-such-model").replace("none}", "none, price: {input: 1, output: 2}}", 1)
    assert [] == problems(tmp_path, text, STREAMCANARY_TARGETS__OPENAI__PRICE__INPUT="0.5")


def test_a_budget_below_the_cost_of_one_run_is_an_error(tmp_path: Path) -> None:
    """A daily budget below the cost of one run is an error, as it would stop everything."""
    text = VALID.replace("usd_per_day: 5", "usd_per_day: 0.0001")
    assert [
        "9:23: budget.usd_per_day: is less than the cost of one run of canary chat (up to 0.00016 USD); raise it"
    ] == problems(tmp_path, text)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("usd_per_day: 5", "usd_per_day: 0", "9:23: budget.usd_per_day: must be greater than 0"),
        ("requests_per_minute: 120", "requests_per_minute: 0", "budget.requests_per_minute: must be greater than 0"),
        ("usd_per_day", "usd_per_dya", "9:10: budget.usd_per_dya: unknown key; did you mean usd_per_day?"),
        ("api_key: none}", "api_key: none, price: cheap}", "must be auto, free, or USD per million tokens such as"),
        (
            "api_key: none}",
            "api_key: none, price: {input: 1}}",
            "targets.openai.price.output: is required, and missing",
        ),
        (
            "api_key: none}",
            "api_key: none, price: {inptu: 1, output: 1}}",
            "openai.price.inptu: unknown key; did you mean input?",
        ),
        (
            "model: gpt",
            "cron: 0 9 * * 8\n    model: gpt",
            "7:11: canaries.chat.cron: the field day-of-week takes 0 to 7",
        ),
        (
            "model: gpt",
            "cron: 0 9 * * 1\n    every: 5s\n    model: gpt",
            "canaries.chat.cron: cannot be combined with every",
        ),
        (
            "model: gpt",
            "timezone: Berlin\n    model: gpt",
            "7:15: canaries.chat.timezone: there is no time zone of this",
        ),
        (
            "model: gpt",
            "cron: 5\n    model: gpt",
            "7:11: canaries.chat.cron: must be text, not a number; put it in quotes",
        ),
        ("model: gpt", "cron:\n    model: gpt", "canaries.chat.cron: is empty; give it a value, or leave the key out"),
        (
            "model: gpt",
            "cron: 0 0 31 2 *\n    model: gpt",
            "7:11: canaries.chat.cron: no date ever matches this: the month",
        ),
        (
            "model: gpt",
            "cron: 0 9 * * *\n    timezone: 3\n    model: gpt",
            "8:15: canaries.chat.timezone: must be text",
        ),
    ],
)
def test_an_error_is_reported_at_its_key(tmp_path: Path, before: str, after: str, expected: str) -> None:
    """A config error has line, column, key and remedy."""
    found = problems(tmp_path, VALID.replace(before, after, 1))
    assert 1 == sum(expected in problem for problem in found)
