"""The generated parts of the Helm chart follow from its values.yaml."""

import re

import pytest
from tools.docs.chart import schema, values
from tools.docs.page import Stale

VALUES = """\
# A comment of the file.
image:
  tag: ""      # -- Tag of the image.
labels: {a: b} # -- Labels, with `code`.
probe:         # -- A probe.
  path: /x
"""


def test_each_described_key_is_a_value() -> None:
    """Keys below a described one belong to its default, and a key without a description is a section."""
    assert [
        ("image", ""),
        ("image.tag", "Tag of the image."),
        ("labels", "Labels, with `code`."),
        ("probe", "A probe."),
    ] == [(value.name, value.description) for value in values.read_values(VALUES)]


def test_a_value_needs_a_description() -> None:
    """A value without a description is an error that names it."""
    with pytest.raises(Stale, match=re.escape("values.yaml: log has no description; end its line with `# -- TEXT`")):
        values.read_values(VALUES + "log: info\n")


def test_the_table_has_defaults() -> None:
    """Each row has the value, its default as JSON, and its description."""
    assert '| `labels` | `{"a": "b"}` | Labels, with `code`. |' in values.values_table(values.read_values(VALUES))


def test_a_refinement_belongs_to_a_value() -> None:
    """A refinement of a value that does not exist is an error, for example after a value was renamed."""
    with pytest.raises(
        Stale, match=re.escape("tools/docs/chart/: shop/values.yaml does not have replicas; rename them")
    ):
        schema.values_schema(values.read_values(VALUES), {"replicas": {"minimum": 0}}, "shop")
