"""Calls whose answer or error is still to be mended: `hostile_known.txt`, `call(argument): values`.

An entry that is no longer needed fails its test, too. `python hostile_known.py` writes the file
anew and prints how many calls there are of each kind.
"""

from collections import Counter
from functools import cache
from importlib import import_module
from pathlib import Path

from hostile_engine import Result

TABLES = ("numbers", "operators", "training", "graphs", "methods", "doors")
FILE = Path(__file__).with_suffix(".txt")
BAD = (Result.SILENT, Result.UNCLEAR)


@cache
def known() -> dict[str, set[str]]:
    """The values to be mended by `call(argument)`."""
    lines = FILE.read_text().splitlines()
    return {key: set(values.split(", ")) for key, values in (line.split(": ") for line in lines)}


def assert_table(case):
    """Every hostile call of the case is a clear error or a right answer, but the known ones."""
    listed, faults = known(), []
    for argument in case.arguments:
        bad = [o for o in case.outcomes_of(argument) if o.result in BAD]
        values = listed.get(f"{case.name}({argument})", set())
        faults += [str(o) for o in bad if o.value not in values]
        mended = values - {o.value for o in bad}
        faults += [f"mended, take it out of {FILE.name}: {argument}={value}" for value in mended]
    assert not faults, "\n".join(faults)


def main():
    """Write what is to be mended now, and count."""
    counts, lines = Counter(), []
    for table in TABLES:
        for case in import_module(f"test_hostile_{table}").CASES:
            for argument in case.arguments:
                found = case.outcomes_of(argument)
                counts.update(o.result.value for o in found)
                if values := sorted(o.value for o in found if o.result in BAD):
                    lines.append(f"{case.name}({argument}): {', '.join(values)}\n")
    FILE.write_text("".join(sorted(lines)))
    print(dict(counts), "of", counts.total(), "calls")


if __name__ == "__main__":
    main()
