"""The verb ``schema``: prints the JSON Schema of the configuration."""

import argparse
import sys
from importlib.resources import files


def main(_arguments: argparse.Namespace) -> int:
    """Print the schema, which ``tools/docs/config_schema.py`` generates; return 0."""
    sys.stdout.write(files("streamcanary.cli").joinpath("streamcanary.schema.json").read_text(encoding="utf-8"))
    return 0
