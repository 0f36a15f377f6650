"""``python -m streamcanary`` is ``streamcanary``."""

import sys

from streamcanary.cli.main import main

sys.exit(main())
