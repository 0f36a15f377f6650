"""The chart accepts each example of ``config/examples`` as the value ``config``."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML
from tools.docs.examples import FOLDER, ORDER, VARIABLES

from support.programs.helm import template

pytestmark = pytest.mark.real("helm")


@pytest.mark.parametrize("name", ORDER)
def test_an_example_is_a_value_of_the_chart(name: str, tmp_path: Path) -> None:
    """The schema in the chart accepts what ``check`` accepts, read with the validator of Helm."""
    example = YAML(typ="safe", pure=True).load(FOLDER / name)
    config = {key: value for key, value in example.items() if key not in ("store", "web")}  # the chart sets these
    variables = [{"name": name, "value": value} for name, value in VARIABLES.items()]
    result = template(tmp_path, values={"config": config, "extraEnv": variables})
    assert 0 == result.code, result.stderr
