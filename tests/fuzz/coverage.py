"""The same inputs and readers as `fuzz_inputs.py`, mutated by coverage: `python -m tests.fuzz.coverage [KIND ...]`.

Needs atheris (`pip install atheris`; wheels for Linux). Each kind runs for `--seconds` in a process of its own; an
input that crashes or is silently accepted is kept in the working folder as `crash-...`. Exit code 1 for any.
"""

from __future__ import annotations

import argparse
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


def fuzz_by_coverage(target: FuzzTarget, seconds: int, seed: int) -> None:
    """Ends the process: with exit code 0 where nothing was found."""
    with tempfile.TemporaryDirectory() as folder:
        corpus, path = Path(folder) / "corpus", Path(folder) / f"input{target.suffix}"
        corpus.mkdir()
        for number, content in enumerate(
            (target.valid, *(x for x in target.hostile if len(x) < 10**5))
        ):
            (corpus / str(number)).write_bytes(content)

        def try_one(content: bytes) -> None:
            path.write_bytes(content)
            try:
                assert target.check(path), "silently accepted"
            except UserError as refusal:
                assert "\n" not in str(refusal)

        flags = [
            f"-max_total_time={seconds}",
            f"-seed={seed}",
            "-timeout=20",
            "-rss_limit_mb=4096",
            "-max_len=20000",
            "-print_final_stats=1",
            "-verbosity=0",
        ]
        atheris.Setup([sys.argv[0], *flags, str(corpus)], try_one)
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", help="of inputs; default: all")
    parser.add_argument("--seconds", type=int, default=30, help="for each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--here", action="store_true", help="in this process; for one kind")
    args = parser.parse_args()
    known = {kind.name: kind for kind in build_fuzz_targets()}
    if args.here:
        fuzz_by_coverage(known[args.kinds[0]], args.seconds, args.seed)
    failed = []
    for name in args.kinds or known:
        command = [
            sys.executable,
            "-m",
            "tests.fuzz.coverage",
            name,
            "--here",
            "--seconds",
            str(args.seconds),
            "--seed",
            str(args.seed),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        tried = next(
            (
                line.split()[-1]
                for line in done.stderr.splitlines()
                if "number_of_executed_units" in line
            ),
            "?",
        )
        print(f"{name}: {tried} tried, {'fine' if done.returncode == 0 else 'FOUND'}", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stdout[-1500:], done.stderr[-1500:], sep="\n", file=sys.stderr)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
