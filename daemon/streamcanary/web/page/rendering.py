"""The templates: one environment with autoescape, and the filters that they use."""

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any

from streamcanary.model.fault_words import FIXERS
from streamcanary.web.page import text_format
from streamcanary.web.page.asset_files import asset_href
from streamcanary.web.page.views.alerts import EVENT_WORDS, incident_words

if TYPE_CHECKING:
    from jinja2 import Environment


async def load() -> None:
    """Import and compile, in a thread, what the first page needs: some tenths of a second of CPU."""
    if not environment.cache_info().currsize:
        await asyncio.to_thread(lambda: [environment().get_template(name) for name in environment().list_templates()])


@cache
def environment() -> "Environment":
    """Return the environment of the templates; they are compiled once."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("streamcanary.web.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=-1,
    )
    filters = (
        text_format.age,
        text_format.availability,
        text_format.clean,
        text_format.clean_lines,
        text_format.clock,
        text_format.clock_seconds,
        text_format.count,
        text_format.day,
        text_format.fault_words,
        text_format.iso,
        text_format.mender,
        text_format.path_part,
        text_format.percent,
        text_format.plural,
        text_format.round_seconds,
        text_format.seconds,
        text_format.sentence,
    )
    made.filters |= {each.__name__: each for each in filters}
    made.filters["no_full_stop"] = lambda text: text.rstrip(".")
    made.filters["incident_words"] = incident_words
    made.globals |= {
        "asset": asset_href,
        "state_words": text_format.STATE_WORDS,
        "outcome_states": text_format.OUTCOME_STATES,
        "outcome_words": text_format.OUTCOME_WORDS,
        "menders": FIXERS,
        "csrf": "",
        "event_words": EVENT_WORDS,
        "has_replicas": False,
        "here": "",
        "is_login": False,
        "is_public": False,
        "live": "",
        "remarks": (),
        "replica": "",
        "version": "",
        "summary": None,
    }
    return made


def render(template: str, **values: Any) -> str:
    """Return a rendered template."""
    return environment().get_template(template).render(values)


def macro(template: str, name: str) -> Any:
    """Return a macro of a template; called, it returns escaped HTML."""
    return getattr(environment().get_template(template).module, name)
