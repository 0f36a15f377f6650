"""Generates the tables of ``docs/rules.md``: built-in rules, and fields of annotations."""

from .page import NONE, code, compare, replace_part, table, words
from .product import BUILTIN_RULES, TEMPLATE_FIELDS

PARTS = ("built-in rules", "annotations")


def rules_page(text: str) -> str:
    """Return ``docs/rules.md`` with current tables between its markers.

    Raises:
        Stale: if a marker is missing, or a rule or field lacks a description.
    """
    descriptions = words("rules")
    compare("tools/docs/words/rules.yaml, rules", descriptions["rules"], BUILTIN_RULES, entry="`fires` and `resolves`")
    compare("tools/docs/words/rules.yaml, fields", descriptions["fields"], TEMPLATE_FIELDS)
    rows = (
        (code(name), entry["fires"], entry["resolves"], entry.get("inhibits", NONE))
        for name, entry in descriptions["rules"].items()
    )
    rules = "\n".join(table(("Rule", "Fires when", "Resolves at", "Inhibits"), rows))
    fields = "\n".join(
        table(("Field", "Meaning"), ((code(f"{{{name}}}"), descriptions["fields"][name]) for name in TEMPLATE_FIELDS))
    )
    for part, content in zip(PARTS, (rules, fields), strict=True):
        text = replace_part("docs/rules.md", text, part, content)
    return text
