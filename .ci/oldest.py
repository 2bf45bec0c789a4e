"""Print the oldest release of each dependency that pyproject.toml allows: constraints for pip."""

import re
import tomllib
from itertools import chain
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
NEEDS = chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())

for need in sorted({n for n in NEEDS if re.fullmatch(r"[\w.-]+>=[\d.]+", n)}):
    print(need.replace(">=", "=="))
