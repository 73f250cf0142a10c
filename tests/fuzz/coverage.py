"""Fuzzing guided by coverage: `python -m tests.fuzz.coverage [KIND ...] [--seconds N]`.

Uses the inputs and checks of `tests.fuzz.inputs`. Needs Atheris (`pip install atheris`, Linux
only). Each kind of input is fuzzed in a process of its own; an input that crashes or is silently
accepted is saved as `crash-...` in the working folder, and ends with exit code 1.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=[
        "data",
        "models.checkpoint",
        "models.training.resume",
        "options",
        "util",
        "PIL",
        "zipfile",
        "tarfile",
    ]
):
    from tests.fuzz.targets import FuzzTarget, build_fuzz_targets
    from util.errors import UserError

_MAX_SEED_BYTES = 10**5  # larger hostile inputs are left out of the corpus
_LIBFUZZER_FLAGS = (
    "-timeout=20",
    "-rss_limit_mb=4096",
    "-max_len=20000",
    "-print_final_stats=1",
    "-verbosity=0",
)


def fuzz_by_coverage(target: FuzzTarget, seconds: int, seed: int) -> None:
    """Fuzz one kind of input; ends the process, with exit code 0 if nothing failed."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        path = Path(folder) / f"input{target.suffix}"
        corpus.mkdir()
        seeds = [target.valid, *(x for x in target.hostile if len(x) < _MAX_SEED_BYTES)]
        for i, content in enumerate(seeds):
            (corpus / str(i)).write_bytes(content)

        def check_input(content: bytes) -> None:
            path.write_bytes(content)
            try:
                assert target.check(path), "silently accepted"
            except UserError as error:
                assert "\n" not in str(error)

        flags = [f"-max_total_time={seconds}", f"-seed={seed}", *_LIBFUZZER_FLAGS]
        atheris.Setup([sys.argv[0], *flags, str(corpus)], check_input)
        atheris.Fuzz()


def run_in_subprocess(name: str, seconds: int, seed: int) -> bool:
    """Fuzz one kind of input in a new process and print the outcome; return whether it passed."""
    command = [sys.executable, "-m", "tests.fuzz.coverage", name, "--here"]
    command += ["--seconds", str(seconds), "--seed", str(seed)]
    result = subprocess.run(command, capture_output=True, text=True)
    is_ok = result.returncode == 0
    executed = re.search(r"number_of_executed_units: *(\d+)", result.stderr)
    n_tried = executed[1] if executed else "?"
    print(f"{name}: {n_tried} inputs tried, {'passed' if is_ok else 'FAILED'}", flush=True)
    if not is_ok:
        print(result.stdout[-1500:], result.stderr[-1500:], sep="\n", file=sys.stderr)
    return is_ok


def main() -> None:
    """Fuzz the selected kinds of input, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    targets = {target.name: target for target in build_fuzz_targets()}
    parser.add_argument(
        "kinds",
        nargs="*",
        metavar="KIND",
        help=f"kinds of input: {', '.join(map(repr, targets))}; default: all",
    )
    parser.add_argument("--seconds", type=int, default=30, help="per kind; default: 30")
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    parser.add_argument("--here", action="store_true", help="fuzz one kind in this process")
    args = parser.parse_args()
    unknown = [name for name in args.kinds if name not in targets]
    if unknown:
        parser.error(f"unknown KIND {unknown[0]!r}")
    if args.here:
        fuzz_by_coverage(targets[args.kinds[0]], args.seconds, args.seed)
    passed = [run_in_subprocess(name, args.seconds, args.seed) for name in args.kinds or targets]
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
