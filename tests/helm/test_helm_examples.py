"""The charts accept each example of ``config/examples`` as the value ``config``."""

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from tools.docs.examples import FOLDER, ORDER, VARIABLES

from support.programs.helm import template

OF_THE_CHART = {"POD_NAME", "POD_NAMESPACE", "NODE_NAME"}
"""Variables that the chart sets itself."""

pytestmark = pytest.mark.real("helm")


@pytest.mark.parametrize("name", ORDER)
def test_an_example_is_a_value_of_the_chart(name: str, tmp_path: Path) -> None:
    """The schema in the chart accepts what ``check`` accepts, read with the validator of Helm."""
    example = YAML(typ="safe", pure=True).load(FOLDER / name)
    config = {key: value for key, value in example.items() if key not in ("store", "web")}  # the chart sets these
    variables = [{"name": name, "value": value} for name, value in VARIABLES.items() if name not in OF_THE_CHART]
    result = template(tmp_path, values={"config": config, "extraEnv": variables})
    assert 0 == result.code, result.stderr


def test_the_example_of_a_sidecar_is_a_value_of_the_library_chart(application: Path, tmp_path: Path) -> None:
    """So is the example of a sidecar of the library chart, which sets what is different in each pod."""
    example = YAML(typ="safe", pure=True).load(FOLDER / "sidecar.yaml")
    own = {
        "config": {key: value for key, value in example.items() if key not in ("store", "web", "fleet")},
        "replicasHint": example["fleet"]["replicas"],
        "extraEnv": [{"name": name, "value": VARIABLES[name]} for name in ("MODEL", "OPENAI_API_KEY")],
    }
    values = {"streamcanary-sidecar": own}
    plain = tmp_path / "shop"
    shutil.copytree(application, plain)
    (plain / "values.yaml").write_text((plain / "values.yaml").read_text().partition("\nstreamcanary-sidecar:")[0])
    result = template(tmp_path, values=values, chart=plain)
    assert 0 == result.code, result.stderr
