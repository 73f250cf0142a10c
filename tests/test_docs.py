"""The README, the pages of docs/, and the project's metadata hold together."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from options.test import build_test_parser
from options.train import build_train_parser

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
MAX_README_WORDS = 1300
README_HEADINGS = [
    "Status",
    "Installation",
    "Quick start",
    "Pretrained models",
    "Datasets",
    "Training",
    "Inference",
    "Evaluation",
    "Performance",
    "Differences from the original release",
    "Documentation",
    "Contributing",
    "Citation",
    "License",
]
SPECIFICATION_SECTIONS = [
    "Data",
    "Networks",
    "Rollout",
    "Temporal groups",
    "Losses",
    "Schedule",
    "Flow",
    "Files",
]
PAGES = sorted(
    [
        README,
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        ROOT / "SECURITY.md",
        *(ROOT / "docs").glob("*.md"),
    ]
)
CODE_FOLDERS = ("data", "models", "options", "util", "scripts", "tests", "docs", ".github")
NOT_IN_REPOSITORY = {"models/flownet2_pytorch/FlowNet2_checkpoint.pth.tar"}  # a download
OTHER_PROGRAMS_FLAGS = {"--no-deps", "--nproc_per_node", "--logdir"}  # pip, torchrun, tensorboard
EXAMPLE_FLAGS = {"--lambda_grad"}  # of docs/extending.md


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def page_id(path: Path) -> str:
    return path.name


def find_broken_links(page: Path) -> list[str]:
    """Return the relative links and images of a page whose file does not exist."""
    text = read(page)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    return [
        target
        for target in targets
        if not re.match(r"https?://|#", target)
        and not (page.parent / target.split("#")[0]).exists()
    ]


def find_missing_paths(page: Path) -> list[str]:
    """Return the repository's paths that a page names but that do not exist."""
    folders = "|".join(map(re.escape, CODE_FOLDERS))
    paths = set(re.findall(rf"(?<![\w./-])((?:{folders})/[\w./-]*\w)", read(page)))
    return sorted(path for path in paths - NOT_IN_REPOSITORY if not (ROOT / path).exists())


def iter_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command in the shell code blocks of a page."""
    for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


def find_program(words: list[str]) -> tuple[Path | None, list[str]]:
    """Return the program of this repository that a command runs, and its arguments."""
    for i, word in enumerate(words):
        if word == "-m" and (ROOT / f"{words[i + 1].replace('.', '/')}.py").is_file():
            return ROOT / f"{words[i + 1].replace('.', '/')}.py", words[i + 2 :]
        if re.search(r"\.(py|sh|sbatch)$", word) and not word.startswith("-"):
            return ROOT / word, words[i + 1 :]
    return None, []


def read_flags(program: Path) -> set[str]:
    """Return the flags that a program accepts: those in its source, and the training flags if it passes them on."""
    if program == ROOT / "test.py":
        return set(build_test_parser()._option_string_actions)
    source = read(program)
    if program.suffix != ".py":
        recipe_parser = build_test_parser() if "test.py" in source else build_train_parser()
        return set(recipe_parser._option_string_actions)
    strings = {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    flags = {string for string in strings if re.fullmatch(r"--\w[\w-]*", string)}
    uses_train_flags = re.search(r"parse_train|build_train_parser|train\.py", source)
    return flags | (set(build_train_parser()._option_string_actions) if uses_train_flags else set())


def find_wrong_commands(text: str) -> list[str]:
    """Return the commands of a page that its program would not accept, with the reason."""
    wrong = []
    for words in iter_commands(text):
        program, arguments = find_program(words)
        if program is None:
            continue
        if not program.is_file():
            wrong.append(f"{program} does not exist: {shlex.join(words)}")
            continue
        flags = [word.split("=")[0] for word in arguments if re.match(r"--\w", word)]
        unknown = sorted(set(flags) - read_flags(program))
        if unknown:
            wrong.append(f"{program.name} has no {', '.join(unknown)}: {shlex.join(words)}")
        elif problem := find_parser_error(program, arguments):
            wrong.append(f"{problem}: {shlex.join(words)}")
    return wrong


def find_parser_error(program: Path, arguments: list[str]) -> str:
    """Return what train.py's or test.py's parser says against complete arguments; rules between flags are not run."""
    parsers: dict[Path, argparse.ArgumentParser] = {
        ROOT / "train.py": build_train_parser(),
        ROOT / "test.py": build_test_parser(),
    }
    if program not in parsers or "..." in arguments:
        return ""
    try:
        parsers[program].parse_args(arguments)
    except ValueError as error:
        return str(error)
    return ""


def read_all_flags() -> set[str]:
    programs = [ROOT / "train.py", ROOT / "test.py", *(ROOT / "scripts").rglob("*.py")]
    programs += [*(ROOT / "tests/fuzz").glob("*.py"), *(ROOT / "tests/crash").glob("*.py")]
    return set().union(*map(read_flags, programs)) | OTHER_PROGRAMS_FLAGS | EXAMPLE_FLAGS


def test_readme_is_short_and_has_the_usual_headings() -> None:
    text = read(README)
    assert len(text.split()) <= MAX_README_WORDS
    assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == README_HEADINGS
    assert "bash scripts/demo.sh" in text and "bash scripts/test.sh" in text
    assert "https://arxiv.org/abs/1808.06601" in text and "```bibtex" in text


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_and_paths_exist(page: Path) -> None:
    assert find_broken_links(page) == []
    assert find_missing_paths(page) == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_are_accepted(page: Path) -> None:
    assert find_wrong_commands(read(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_flags_in_text_exist(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)
    mentioned = set(re.findall(r"(?<![\w-])--[a-zA-Z]\w+(?:-\w+)*", prose))
    assert mentioned - read_all_flags() == set()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("python train.py --nmae mine", "--nmae"),
        ("python train.py --ngf wide", "--ngf"),
        ("python train.py \\\n    --loadSize 512 --lode 3", "--lode"),
        ("torchrun --nproc_per_node 8 test.py --hau_many 3", "--hau_many"),
        ("python scripts/prepare.py in.mp4 --wdith 3", "--wdith"),
        ("bash scripts/street/train_512.sh --lod 3", "--lod"),
        ("python scripts/absent.py", "does not exist"),
        ("python -m scripts.benchmarks.bench --sise 3", "--sise"),
    ],
)
def test_planted_wrong_command_is_detected(command: str, reason: str) -> None:
    [problem] = find_wrong_commands(f"```bash\n{command}\n```")
    assert reason in problem


def test_planted_wrong_link_and_path_are_detected(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[here](absent.md), ![image](absent.jpg), `models/absent.py`, [self](page.md)")
    assert find_broken_links(page) == ["absent.md", "absent.jpg"]
    assert find_missing_paths(page) == ["models/absent.py"]


def test_glossary_has_30_to_40_entries() -> None:
    section = read(ROOT / "docs/architecture.md").split("## Glossary")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", section, flags=re.MULTILINE)
    assert rows[0] == "term" and 30 <= len(rows) - 1 <= 40
    assert len(set(rows)) == len(rows)


def test_specification_has_the_sections_that_the_code_cites() -> None:
    headings = re.findall(r"^## (.+)$", read(ROOT / "docs/parity.md"), flags=re.MULTILINE)
    assert [heading for heading in headings if heading in SPECIFICATION_SECTIONS] == (
        SPECIFICATION_SECTIONS
    )
    for path in (
        path for folder in ("data", "models", "util") for path in (ROOT / folder).rglob("*.py")
    ):
        for section in re.findall(r"docs/parity\.md, ([A-Z][a-z]+(?: [a-z]+)?)", read(path)):
            assert section.startswith(tuple(SPECIFICATION_SECTIONS)), f"{path}: {section}"


def test_tree_lists_every_package() -> None:
    tree = read(ROOT / "docs/architecture.md").split("## Tree")[1].split("## Import rules")[0]
    for folder in ("data", "models", "options", "util"):
        for init in (ROOT / folder).rglob("__init__.py"):
            assert re.search(rf"^ *{init.parent.name}/ ", tree, flags=re.MULTILINE), init.parent


def test_changelog_lists_the_current_version() -> None:
    [version] = re.findall(r'version="([\d.]+)"', read(ROOT / "setup.py"))
    assert re.search(
        rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$", read(ROOT / "CHANGELOG.md"), re.M
    )
    assert yaml.safe_load(read(ROOT / "CITATION.cff"))["version"] == version


def test_site_builds_without_warnings(tmp_path: Path) -> None:
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed: pip install -e '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    build = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert build.returncode == 0, build.stderr
    assert (tmp_path / "index.html").is_file()
    # Examples are included from tests/examples.
    assert "TranslationFlowEstimator" in read(tmp_path / "extending.html")


def test_navigation_lists_every_page() -> None:
    config = read(ROOT / "mkdocs.yml")
    for page in (ROOT / "docs").glob("*.md"):
        assert f": {page.name}\n" in config


def test_extending_includes_every_example() -> None:
    page = read(ROOT / "docs/extending.md")
    examples = [path for path in (ROOT / "tests/examples").glob("*.py") if path.stem != "__init__"]
    assert len(examples) == 3
    for example in examples:
        assert f'--8<-- "tests/examples/{example.name}"' in page


def parse_range(package: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the versions (major, minor) of setup.py: the oldest allowed, and the first not allowed."""
    [bounds] = re.findall(rf'"{package}>=(\d+)\.(\d+),<(\d+)\.(\d+)"', read(ROOT / "setup.py"))
    oldest_major, oldest_minor, end_major, end_minor = map(int, bounds)
    return (oldest_major, oldest_minor), (end_major, end_minor)


def test_workflow_covers_the_supported_versions() -> None:
    workflow = yaml.safe_load(read(ROOT / ".github/workflows/test.yml"))
    matrix = workflow["jobs"]["matrix"]["strategy"]["matrix"]
    classifiers = re.findall(
        r'"Programming Language :: Python :: (3\.\d+)"', read(ROOT / "setup.py")
    )
    assert matrix["python"] == classifiers == ["3.11", "3.12", "3.13"]
    assert f'python_requires=">={classifiers[0]}' in read(ROOT / "setup.py")
    pairs = {entry["torch"]: entry["torchvision"] for entry in matrix["include"]}
    assert matrix["torch"] == list(pairs)
    for package, versions in (("torch", pairs.keys()), ("torchvision", pairs.values())):
        (major, minor), (end_major, end_minor) = parse_range(package)
        assert major == end_major
        assert list(versions) == [f"{major}.{minor}.*", f"{major}.{end_minor - 1}.*"]


def test_workflow_runs_scripts_and_extras_that_exist() -> None:
    workflow = yaml.safe_load(read(ROOT / ".github/workflows/test.yml"))
    commands = [
        step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step
    ]
    assert "bash .ci/run" in commands and (ROOT / ".ci/run").is_file()
    [extras] = re.findall(r"\.\[([\w,]+)\]", "\n".join(commands))
    for extra in extras.split(","):
        assert f'"{extra}": ' in read(ROOT / "setup.py")


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=page_id)
def test_github_files_are_valid_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(read(path)), dict)


def test_pre_commit_hooks_are_local_and_their_tools_required() -> None:
    config = yaml.safe_load(read(ROOT / ".pre-commit-config.yaml"))
    for repository in config["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            assert hook["language"] == "system"
            tool = Path(hook["entry"].split()[0])
            assert tool.parent == Path(".venv/bin") and f'"{tool.name}>=' in read(ROOT / "setup.py")
    commands = read(ROOT / "scripts/test.sh")
    for tool in ("ruff check", "ruff format --check", "codespell", "mypy", "pytest"):
        assert tool in commands
