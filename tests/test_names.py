"""Public module-level names are unique in the code: one name, one meaning."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("data", "models", "options", "util", "scripts")
ALLOWED_DUPLICATES = {"main"}  # every script has its own entry point


def iter_public_names(source: str) -> Iterator[str]:
    """Yield the public functions, classes and variables that a module defines at its top level."""
    for statement in ast.parse(source).body:
        for name in iter_defined_names(statement):
            if not name.startswith("_"):
                yield name


def iter_defined_names(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that one top-level statement binds; imports bind none of their own."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign):
        for target in statement.targets:
            yield from iter_target_names(target)
    elif isinstance(statement, ast.AnnAssign):
        yield from iter_target_names(statement.target)


def iter_target_names(target: ast.expr) -> Iterator[str]:
    """Yield the variables of an assignment's target, also of a tuple."""
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, ast.Tuple | ast.List):
        for element in target.elts:
            yield from iter_target_names(element)


def find_duplicates(root: Path) -> dict[str, list[str]]:
    """Return each public name that two or more modules define, with these modules."""
    modules_by_name = defaultdict(set)
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            for name in iter_public_names(path.read_text(encoding="utf-8")):
                modules_by_name[name].add(str(path.relative_to(root)))
    return {
        name: sorted(modules)
        for name, modules in modules_by_name.items()
        if len(modules) > 1 and name not in ALLOWED_DUPLICATES
    }


def test_public_names_are_unique() -> None:
    assert find_duplicates(ROOT) == {}


@pytest.mark.parametrize(
    "definition",
    [
        "def planted(): ...",
        "class planted: ...",
        "planted = 1",
        "planted: int = 1",
        "other, planted = 1, 2",
    ],
)
def test_planted_duplicate_is_detected(definition: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "models/flow").mkdir(parents=True)
    (tmp_path / "data/one.py").write_text("def planted():\n    inner = 1\n")
    (tmp_path / "models/flow/two.py").write_text(f"{definition}\nfrom data.one import unused\n")
    assert find_duplicates(tmp_path) == {"planted": ["data/one.py", "models/flow/two.py"]}


def test_private_and_imported_names_may_repeat(tmp_path: Path) -> None:
    (tmp_path / "util").mkdir()
    for module in ("one", "two"):
        (tmp_path / f"util/{module}.py").write_text("from pathlib import Path\n_SIZE = 1\n")
    assert find_duplicates(tmp_path) == {}
