"""The mutants of a module: what Cosmic Ray's operators make of it, and two operators more.

A mutant is the module with one small change. What stands in annotations is left out: `from
__future__ import annotations` keeps it from ever being evaluated.
"""

import ast
import difflib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        path: of the file, from the root of the repository.
        line: its number.
        old: the line as it is.
        new: as the mutant has it; empty where it is deleted.
        source: the whole mutated file.
    """

    path: str
    line: int
    old: str
    new: str
    source: str

    @property
    def key(self) -> str:
        """By what a list of mutants knows it, wherever the line stands."""
        return f"{self.path} @@ {self.old} @@ {self.new}"


def sampled(path: str, count: int, seed: int) -> list[Mutant]:
    """So many mutants of a file, the same for the same seed and source, in order."""
    source = (ROOT / path).read_text()
    evaluated = _evaluated(source)
    candidates = [*_cosmic_ray(source), *_rivals(source), *_removed_checks(source)]
    random.Random(f"{seed}:{path}").shuffle(candidates)
    found = {}
    for make in candidates:
        if len(found) == count:
            break
        changed = make()
        if changed is None or changed == source or not _compiles(changed, path):
            continue
        if _evaluated(changed) != evaluated:
            found[changed] = _described(path, source, changed)
    return sorted(found.values(), key=lambda m: (m.line, m.new))


def _compiles(source: str, path: str) -> bool:
    try:
        compile(source, path, "exec")
    except SyntaxError:
        return False
    return True


# What could be taken for the other by mistake; Cosmic Ray has every pair (`x + y` for `x >> y`),
# most of which the first call of any test finds.
_PAIRS = {
    "Binary": "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Div Pow_Mul Mod_FloorDiv LShift_RShift "
              "RShift_LShift BitAnd_BitOr BitOr_BitAnd",
    "Comparison": "Lt_LtE Lt_Gt LtE_Lt LtE_GtE Gt_GtE Gt_Lt GtE_Gt GtE_LtE Eq_NotEq NotEq_Eq "
                  "Is_IsNot IsNot_Is In_NotIn NotIn_In",
}  # fmt: skip


def _wanted(operator: str) -> bool:
    kind, _, pair = operator.partition("Operator_")
    for name, pairs in _PAIRS.items():
        if name in kind:
            return pair in pairs.split()
    return True


def _cosmic_ray(source: str) -> Iterator[Callable[[], str | None]]:
    import cosmic_ray.plugins  # of the extra `mutation`
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code

    nodes = list(ast_nodes(get_ast(source)))
    for name in cosmic_ray.plugins.operator_names():
        operator = cosmic_ray.plugins.get_operator(name)
        if operator.arguments() or not _wanted(name):  # what wants settings has none here
            continue
        made = operator()
        count = sum(len(list(made.mutation_positions(node))) for node in nodes)
        for occurrence in range(count):
            yield partial(mutate_code, source, made, occurrence)


def _rivals(source: str) -> Iterator[Callable[[], str]]:
    """A member of an enum for another: `Rounding.HALF_AWAY` for `Rounding.HALF_EVEN`."""
    members = [
        (node.value.id, node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.attr.isupper()
    ]
    names = {}
    for kind, node in members:
        names.setdefault(kind, set()).add(node.attr)
    for kind, node in members:
        for rival in sorted(names[kind] - {node.attr}):
            yield partial(_replaced, source, node, f"{kind}.{rival}")


def _removed_checks(source: str) -> Iterator[Callable[[], str]]:
    """A statement that only calls something, gone: a check that is not made."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield partial(_replaced, source, node, "pass")


def _replaced(source: str, node: ast.expr | ast.stmt, text: str) -> str:
    lines = source.encode().splitlines(keepends=True)
    first, last = node.lineno - 1, node.end_lineno - 1
    head, tail = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
    return b"".join([*lines[:first], head + text.encode() + tail, *lines[last + 1 :]]).decode()


def _described(path: str, source: str, changed: str) -> Mutant:
    old, new = source.splitlines(), changed.splitlines()
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            before, after = (" ".join(s.strip() for s in part) for part in (old[i:j], new[k:m]))
            return Mutant(path, i + 1, before, after, changed)
    raise AssertionError("nothing differs")


def _evaluated(source: str) -> str:
    """What of a module is ever evaluated: its tree without annotations."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return ast.dump(tree)
