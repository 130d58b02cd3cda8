"""`python -P start.py <program>`: run a rival with the repository last on the path.

LlamaIndex has a top-level package `workflows`, as ChatSphere has; the first one found must be its own.
"""

import runpy
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
runpy.run_module(f"bench.rivals.programs.{sys.argv[1]}", run_name="__main__")
