"""Fuzzing with random mutations: `python -m tests.fuzz.inputs [--seed N] [--per_kind N]`.

Every input is a valid one with a few bytes changed, or a hostile one written by hand. The program
must refuse it with a UserError of one line, or read what a valid file means. Anything else is a
crash or a silent acceptance, and ends with exit code 1.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from tabulate import tabulate

from tests.fuzz.targets import FuzzTarget, build_fuzz_targets
from util.errors import UserError

_TIMEOUT_SECONDS = 20  # for one input
_MAX_ADDRESS_SPACE_BYTES = 12 * 2**30  # torch itself takes most of it
_OUTCOMES = ("refused", "as valid", "silently accepted", "crashed")
_REPLACEMENTS = (b"\0", b"\xff", b"-", b"9", b"[", b"\n")


def mutate_bytes(valid: bytes, rng: random.Random) -> bytes:
    """Apply one to four small mutations."""
    data = bytearray(valid)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 4, 16, 200))
        mutation = rng.randrange(6)
        if mutation == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif mutation == 1:
            del data[at : at + length]
        elif mutation == 2:
            data[at:at] = rng.randbytes(length)
        elif mutation == 3:
            data[at : at + length] = rng.choice(_REPLACEMENTS) * length
        elif mutation == 4:
            data[at:at] = data[at : at + length] * rng.choice((1, 2, 50))
        else:
            del data[at:]
    return bytes(data)


def _raise_timeout(_signal: int, _frame: object) -> None:
    raise TimeoutError(f"more than {_TIMEOUT_SECONDS} s")


def classify_outcome(target: FuzzTarget, path: Path) -> str:
    """Read one input; return one of `_OUTCOMES`, followed by the exception of a crash.

    Every exception other than UserError is a crash, SystemExit too: argparse and executed code
    raise it.
    """
    try:
        return "as valid" if target.check(path) else "silently accepted"
    except UserError as error:
        return "refused" if "\n" not in str(error) else "crashed: a message of several lines"
    except (Exception, SystemExit, Warning) as error:  # noqa: BLE001  a fuzzer catches everything
        return f"crashed: {type(error).__name__}: {str(error)[:100]}"


def fuzz_by_mutation(
    target: FuzzTarget, n_mutations: int, seed: int, folder: Path
) -> tuple[Counter[str], float]:
    """Try the valid input, all hostile inputs and some mutations.

    Args:
        target: Kind of input.
        n_mutations: Number of mutations of the valid input.
        seed: Seed of the mutations.
        folder: Where inputs are written.

    Returns:
        The number of inputs by outcome, and the seconds of the slowest one.
    """
    rng = random.Random(f"{seed} {target.name}")
    mutations = (mutate_bytes(target.valid, rng) for _ in range(n_mutations))
    path = folder / f"input{target.suffix}"
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for content in (target.valid, *target.hostile, *mutations):
        path.write_bytes(content)
        start = time.monotonic()
        signal.alarm(_TIMEOUT_SECONDS)
        outcome = classify_outcome(target, path)
        signal.alarm(0)
        slowest = max(slowest, time.monotonic() - start)
        outcomes[outcome.split(":")[0]] += 1
        if outcome not in ("refused", "as valid"):
            print(f"{target.name}: {outcome}: {content[:60]!r}", file=sys.stderr)
    return outcomes, slowest


def main() -> None:
    """Fuzz all kinds of input and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations; default: 0")
    parser.add_argument(
        "--per_kind", type=int, default=500, help="mutations of each kind of input; default: 500"
    )
    args = parser.parse_args()
    warnings.simplefilter("error")
    # Pillow warns of the broken tag that it ignores.
    warnings.filterwarnings("ignore", module="PIL.TiffImagePlugin")
    signal.signal(signal.SIGALRM, _raise_timeout)
    _, hard_limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_ADDRESS_SPACE_BYTES, hard_limit))
    total: Counter[str] = Counter()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for target in build_fuzz_targets():
            print(f"fuzzing {target.name}", file=sys.stderr)
            outcomes, slowest = fuzz_by_mutation(target, args.per_kind, args.seed, Path(folder))
            total += outcomes
            rows.append(format_outcome_row(target.name, outcomes, f"{slowest:.2f} s"))
    rows.append(format_outcome_row("all", total, ""))
    header = ("input", "tried", *_OUTCOMES, "slowest")
    print(f"seed {args.seed}\n", tabulate(rows, header, tablefmt="github"), sep="\n")
    sys.exit(bool(total["crashed"] or total["silently accepted"]))


def format_outcome_row(name: str, outcomes: Counter[str], slowest: str) -> tuple[str | int, ...]:
    """Return the cells of one row of the table."""
    return (name, outcomes.total(), *(outcomes[outcome] for outcome in _OUTCOMES), slowest)


if __name__ == "__main__":
    main()
