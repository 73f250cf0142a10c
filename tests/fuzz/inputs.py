"""Feeds broken and hostile files and flags to what reads them: `python -m tests.fuzz.inputs [--seed N]`.

Every input is a valid one with a few bytes changed, or one made to hurt. It must be refused with a UserError, or mean
what a valid file means; anything else is a crash or a silent acceptance. Prints a table; exit code 1 for either.
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

from tests.fuzz.targets import FuzzTarget, build_fuzz_targets
from util.errors import UserError

_TIMEOUT_SECONDS = 20  # seconds for one input
_MAX_ADDRESS_SPACE_BYTES = 12 * 2**30  # bytes of address space, most of it torch's own


def mutate_bytes(valid: bytes, rng: random.Random) -> bytes:
    """One to four small accidents."""
    data = bytearray(valid)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 4, 16, 200))
        accident = rng.randrange(6)
        if accident == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif accident == 1:
            del data[at : at + length]
        elif accident == 2:
            data[at:at] = rng.randbytes(length)
        elif accident == 3:
            data[at : at + length] = rng.choice((b"\0", b"\xff", b"-", b"9", b"[", b"\n")) * length
        elif accident == 4:
            data[at:at] = data[at : at + length] * rng.choice((1, 2, 50))
        else:
            del data[at:]
    return bytes(data)


def _raise_timeout(_signal: int, _frame: object) -> None:
    raise TimeoutError(f"more than {_TIMEOUT_SECONDS} s")


def classify_outcome(target: FuzzTarget, path: Path) -> str:
    """Of one input. Whatever is no UserError is a crash, SystemExit (executed code, argparse) among them."""
    try:
        return "as valid" if target.check(path) else "silently accepted"
    except UserError as refusal:
        return "refused" if "\n" not in str(refusal) else "crashed: a refusal of several lines"
    except (Exception, SystemExit, Warning) as fault:  # noqa: BLE001  what is sought
        return f"crashed: {type(fault).__name__}: {str(fault)[:100]}"


def fuzz_by_mutation(
    target: FuzzTarget, n_mutations: int, seed: int, folder: Path
) -> tuple[Counter[str], float]:
    """Verdicts of `count` mutations and of all hostile inputs; the longest took so many seconds. Crashes are kept."""
    rng, verdicts, longest = random.Random(f"{seed} {target.name}"), Counter[str](), 0.0
    path = folder / f"input{target.suffix}"
    for content in (
        target.valid,
        *target.hostile,
        *(mutate_bytes(target.valid, rng) for _ in range(n_mutations)),
    ):
        path.write_bytes(content)
        began = time.monotonic()
        signal.alarm(_TIMEOUT_SECONDS)
        said = classify_outcome(target, path)
        signal.alarm(0)
        longest = max(longest, time.monotonic() - began)
        verdicts[said.split(":")[0]] += 1
        if said not in ("refused", "as valid"):
            print(f"{target.name}: {said}: {content[:60]!r}", file=sys.stderr)
    return verdicts, longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per_kind", type=int, default=500, help="mutations of each kind")
    args = parser.parse_args()
    warnings.simplefilter("error")
    warnings.filterwarnings(
        "ignore", module="PIL.TiffImagePlugin"
    )  # says which broken tag it does without
    signal.signal(signal.SIGALRM, _raise_timeout)
    resource.setrlimit(
        resource.RLIMIT_AS, (_MAX_ADDRESS_SPACE_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1])
    )
    total: Counter[str] = Counter()
    print(
        f"seed {args.seed}\n\n| input | tried | refused cleanly | as valid | silently accepted | crashed | slowest |"
    )
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for kind in build_fuzz_targets():
            verdicts, longest = fuzz_by_mutation(kind, args.per_kind, args.seed, Path(folder))
            total += verdicts
            print(format_outcome_row(kind.name, verdicts), f"{longest:.2f} s |", flush=True)
    print(format_outcome_row("all", total), "|")
    sys.exit(bool(total["crashed"] or total["silently accepted"]))


def format_outcome_row(name: str, outcomes: Counter[str]) -> str:
    columns = (outcomes[key] for key in ("refused", "as valid", "silently accepted", "crashed"))
    return f"| {name} | {outcomes.total()} | " + " | ".join(map(str, columns)) + " |"


if __name__ == "__main__":
    main()
