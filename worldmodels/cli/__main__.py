"""``python -m worldmodels.cli``: as the console script does."""

import sys

from worldmodels.cli.main import main

sys.exit(main())
