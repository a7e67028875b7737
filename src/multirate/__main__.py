"""``python -m multirate``."""

import sys

from multirate.cli.main import main

sys.exit(main())
