"""What things cost: a module for each structure of the core, and for spawns, messages and tasks.

`_measure` is how times are taken, `_places` where they are taken (regions, systems, peers); neither
holds a benchmark. `docs/benchmarks.md` says how to run them and what the figures do not show.
"""

import os
import sys

# asv imports this package by a hook of its own, which processes started from here do not have.
_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if _HOME not in sys.path:
    sys.path.append(_HOME)
