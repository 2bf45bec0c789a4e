"""Whether a checkout is as fast as another one, row by row of `numq bench`; not a test.

    python tests/kernels/gates/speed.py BEFORE AFTER [--only TEXT ...] [--quick] [--rounds 9]

BEFORE and AFTER are folders with a checkout of this repository each. One process of each holds the
arrays of a row (the same ones, by the row's own seed), answers must agree to the last bit, and then
the two take turns on one thread: the one, the other, the other, the one. A row's ratio is the
median over the turns of *before / after*: above 1 is faster. What other programs do to a machine
does not last and where memory lies does not repeat, so a row below the gate is measured again in
new processes with more turns; what counts is the median over all turns of all attempts.

Prints every row; exits with 1 if one fails or answers differ, which `--only` cuts down to the rows
whose title or label holds one of the texts. BEFORE is asked for the problem tables of
`numq.bench` and nothing else, so that rooms may be renamed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

GATE = 0.97
ATTEMPTS = 4  #: at a row, each with more turns than the one before
TURN_S = 0.004  #: a turn repeats its call until about this long
THREADS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Worker:
    """A process that holds one checkout's side of a row."""

    def __init__(self, checkout: Path) -> None:
        environment = {**os.environ, **dict.fromkeys(THREADS, "1"), "PYTHONPATH": str(checkout)}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve"], cwd=checkout, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        home = Path(self.ask("home"))
        if not home.is_relative_to(checkout):
            raise SystemExit(f"numq is that of {home}; allowed is that of {checkout}")

    def ask(self, *request: object):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the worker of {self._process.args} ended with {request}")
        return json.loads(answer)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def serve() -> None:
    """The worker: a request a line, an answer a line."""
    import numpy as np

    import numq
    from numq.bench.problems import ours, problem
    from numq.bench.shapes import CASES, QUICK

    answers, sys.stdout = sys.stdout, sys.stderr
    call = None
    for line in sys.stdin:
        match json.loads(line):
            case ["home"]:
                answer = numq.__file__
            case ["rows", quick]:
                answer = [(case.group, case.label) for case in (QUICK if quick else CASES)]
            case ["make", group, label]:
                case = next(
                    case for case in CASES + QUICK if [case.group, case.label] == [group, label]
                )
                seed = list(f"{group}{label}".encode())
                call = ours(problem(case, np.random.default_rng(seed)))
                answer = digest(call()), calls_per_turn(call)
            case ["turn", count]:
                answer = turn(call, count)
        print(json.dumps(answer), file=answers, flush=True)


def digest(result) -> str:
    """Of type, shape and bytes; of every part if there are several."""
    import numpy as np

    found = hashlib.sha256()
    for part in result if isinstance(result, tuple) else (result,):
        array = np.ascontiguousarray(part)
        found.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return found.hexdigest()


def calls_per_turn(call) -> int:
    shortest = min(turn(call, 1) for _ in range(3))
    return max(1, min(2000, int(TURN_S / max(1e-9, shortest))))


def turn(call, count: int) -> float:
    """Seconds of one of ``count`` calls; where a turn is short, one before fills the caches."""
    if count > 1:
        call()
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def measured(workers: list[Worker], row: list[str], rounds: int) -> list[tuple[float, float]]:
    """Seconds of a call before and after, of every turn.

    Raises:
        ValueError: the answers differ.
    """
    (one, count), (other, _) = (worker.ask("make", *row) for worker in workers)
    if one != other:
        raise ValueError("the answers differ")
    pairs = []
    for number in range(rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        taken = {which: workers[which].ask("turn", count) for which in order}
        pairs.append((taken[0], taken[1]))
    return pairs


def ratio_of(pairs: list[tuple[float, float]]) -> float:
    """The median of before / after."""
    return median(first / second for first, second in pairs) if pairs else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--only", nargs="+", default=[""], help="texts of titles or labels")
    parser.add_argument("--quick", action="store_true", help="the rows of `numq bench --quick`")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each at first")
    options = parser.parse_args()
    checkouts = [options.before.resolve(), options.after.resolve()]
    workers = [Worker(checkout) for checkout in checkouts]
    known, rows = (worker.ask("rows", options.quick) for worker in workers)
    failed, group = [], None
    for row in rows:
        if row not in known or not any(text in "\n".join(row) for text in options.only):
            continue
        if row[0] != group:
            print(group := row[0], flush=True)
        pairs, attempt = [], 0
        try:
            while ratio_of(pairs) < GATE and attempt < ATTEMPTS:
                if attempt:
                    for worker in workers:
                        worker.close()
                    workers = [Worker(checkout) for checkout in checkouts]
                attempt += 1
                pairs += measured(workers, row, options.rounds * attempt)
            before, after = (median(times) for times in zip(*pairs, strict=True))
            times = f"{1e6 * before:11.1f} {1e6 * after:11.1f} µs"
            note = "" if attempt == 1 else f"  attempt {attempt}"
        except ValueError as error:
            pairs, times, note = [], f"{error}", ""
        ratio = ratio_of(pairs)
        if ratio < GATE:
            failed.append(row)
        print(f"  {row[1]:28} {ratio:6.3f} {times}{note}{'  FAILS' * (ratio < GATE)}", flush=True)
    for worker in workers:
        worker.close()
    lost = [row for row in known if row not in rows]
    for what, some in (("below the gate", failed), ("gone from the table", lost)):
        for title, label in some:
            print(f"{what}: {title}, {label}")
    return 1 if failed or lost else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        raise SystemExit(main())
