"""What is wrong with a budget, a price or a schedule, told at its own key."""

from pathlib import Path

import pytest

from streamcanary.settings import ConfigInvalid, load

SOUND = """\
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
    """Return what is wrong with ``text``, without the path of the file."""
    path = tmp_path / "c.yaml"
    path.write_text(text)
    try:
        load(path, environ)
    except ConfigInvalid as error:
        return [str(problem).removeprefix(f"{path}:") for problem in error.problems]
    return []


def test_list_prices_make_a_sound_budget(tmp_path: Path) -> None:
    """Known models need no price."""
    assert [] == problems(tmp_path, SOUND)


def test_an_unknown_price_under_a_budget_is_refused(tmp_path: Path) -> None:
    """It is told at each model, a fallback's too, with what to set; without a budget it is no matter."""
    text = SOUND.replace("gpt-4o-mini", "gpt-unheard-of").replace(
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


def test_a_price_can_be_set_from_outside(tmp_path: Path) -> None:
    """Prices are single values like others."""
    text = SOUND.replace("gpt-4o-mini", "gpt-unheard-of").replace("none}", "none, price: {input: 1, output: 2}}", 1)
    assert [] == problems(tmp_path, text, STREAMCANARY_TARGETS__OPENAI__PRICE__INPUT="0.5")


def test_a_budget_that_no_run_fits_into_is_refused(tmp_path: Path) -> None:
    """It would stop everything at once."""
    text = SOUND.replace("usd_per_day: 5", "usd_per_day: 0.0001")
    assert [
        "9:23: budget.usd_per_day: is less than the cost of one run of canary chat (up to 0.00016 USD); raise it"
    ] == problems(tmp_path, text)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("usd_per_day: 5", "usd_per_day: 0", "9:23: budget.usd_per_day: must be greater than 0"),
        ("requests_per_minute: 120", "requests_per_minute: 0", "budget.requests_per_minute: must be greater than or"),
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
            "7:11: canaries.chat.cron: no date ever fits this: the month",
        ),
        (
            "model: gpt",
            "cron: 0 9 * * *\n    timezone: 3\n    model: gpt",
            "8:15: canaries.chat.timezone: must be text",
        ),
    ],
)
def test_a_mistake_is_told_where_it_is(tmp_path: Path, before: str, after: str, expected: str) -> None:
    """With line, column and key, and what would be right."""
    told = problems(tmp_path, SOUND.replace(before, after, 1))
    assert 1 == sum(expected in problem for problem in told)
