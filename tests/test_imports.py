"""The layers of the packages: what may import what, as docs/architecture.md says."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = {"util", "data", "models", "options"}
MAY_IMPORT = {
    "util": {"util"},
    "data": {"util", "data"},
    "models": {"util", "models"},
    "options": PRODUCT,
    "train": PRODUCT,
    "test": PRODUCT,
    "scripts": {*PRODUCT, "scripts"},
    "tests": {*PRODUCT, "tests", "train", "test"},
    "tests/scripts": {*PRODUCT, "tests", "scripts"},  # the tests of scripts
}
# The slow reference that optimized networks are compared with.
ALLOWED_IN_ALL_TESTS = {"scripts.benchmarks.reference_implementation"}
# Within models: packages, and what they must not import.
MODELS_MUST_NOT_IMPORT = {
    "flow": {"ops", "networks", "losses", "training", "inference", "evaluation"},
    "ops": {"flow", "losses", "training", "inference", "evaluation"},
    "networks": {"losses", "training", "inference", "evaluation"},
    "losses": {"training", "inference", "evaluation"},
    "inference": {"losses", "training", "evaluation"},
    "evaluation": {"losses", "training"},
    "training": {"evaluation"},
}
FIRST_PARTY = {*PRODUCT, "train", "test", "scripts", "tests"}
SKIPPED = {".venv", "datasets", "checkpoints", "results", "setup.py"}


def list_imports(source: str) -> Iterator[str]:
    """Yield the full names of the modules that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield node.module or ""


def get_layer(path: Path) -> str:
    """Return the layer of a file, a key of `MAY_IMPORT`."""
    if path.parts[:2] == ("tests", "scripts"):
        return "tests/scripts"
    return path.parts[0].removesuffix(".py")


def find_violations(root: Path) -> list[str]:
    violations = []
    for file in sorted(root.rglob("*.py")):
        path = file.relative_to(root)
        if path.parts[0] in SKIPPED or path.parts[0].startswith("."):
            continue
        layer = get_layer(path)
        assert layer in MAY_IMPORT, f"{path}: add its layer to MAY_IMPORT"
        forbidden = FIRST_PARTY - MAY_IMPORT[layer]
        for name in list_imports(file.read_text(encoding="utf-8")):
            is_exception = layer == "tests" and name in ALLOWED_IN_ALL_TESTS
            is_forbidden = name.split(".")[0] in forbidden and not is_exception
            if is_forbidden or is_forbidden_in_models(path, name):
                violations.append(f"{path} imports {name}")
    return violations


def is_forbidden_in_models(path: Path, name: str) -> bool:
    parts = name.split(".")
    if path.parts[0] != "models" or parts[0] != "models" or len(parts) < 2:
        return False
    return parts[1] in MODELS_MUST_NOT_IMPORT.get(path.parts[1], set())


def test_package_imports_follow_the_layering() -> None:
    assert find_violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("models/planted.py", "from data.dataset import ClipDataset"),
        ("data/planted.py", "import models.flow.warp"),
        ("util/planted.py", "def f():\n    import options"),
        ("options/planted.py", "from scripts import demo"),
        ("scripts/planted.py", "from tests.tiny import tiny_options"),
        ("models/flow/planted.py", "import train"),
        ("models/networks/planted.py", "from models.training.trainer import Trainer"),
        ("tests/planted.py", "from scripts.benchmarks import bench"),
    ],
)
def test_planted_import_violation_is_detected(file: str, line: str, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(f"from util.errors import UserError\n{line}\n")
    assert len(find_violations(tmp_path)) == 1
