"""Runs the command line as ``python -m streamcanary``."""

import sys

from streamcanary.cli.main import main

sys.exit(main())
