"""Imports run one way, as docs/architecture.md says."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "util": {"util"},
    "data": {"util", "data"},
    "models": {"util", "models"},
    "options": {"util", "data", "models", "options"},
    "train": {"util", "data", "models", "options"},
    "test": {"util", "data", "models", "options"},
    "scripts": {"util", "data", "models", "options", "scripts"},
}
OURS = {*MAY_IMPORT, "tests"}
SKIPPED = {".venv", "tests", "datasets", "checkpoints", "results", "setup.py"}


def imported(source: str) -> Iterator[str]:
    """Whole names of the modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            yield node.module or ""


def violations(root: Path) -> list[str]:
    found = []
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        package = place.parts[0].removesuffix(".py")
        if place.parts[0] in SKIPPED or place.parts[0].startswith("."):
            continue
        assert package in MAY_IMPORT, f"{place}: what may it import? say so here"
        found += [
            f"{place} imports {name}"
            for name in imported(path.read_text(encoding="utf-8"))
            if name.split(".")[0] in OURS - MAY_IMPORT[package]
        ]
    return found


def test_package_imports_follow_the_layering() -> None:
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("models/planted.py", "from data.dataset import ClipDataset"),
        ("data/planted.py", "import models.flow.warp"),
        ("util/planted.py", "def f():\n    import options"),
        ("options/planted.py", "from scripts import demo"),
        ("scripts/planted.py", "from tests.tiny import tiny_options"),
        ("models/flow/planted.py", "import train"),
    ],
)
def test_planted_import_violation_is_detected(file: str, line: str, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(f"from util.errors import UserError\n{line}\n")
    assert len(violations(tmp_path)) == 1
