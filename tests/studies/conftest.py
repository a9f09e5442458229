"""The worlds with known values of the behaviours' tests serve the studies' tests, too."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "behaviours"))
