"""Feeds broken and hostile files and flags to what reads them: `python scripts/fuzz_inputs.py [--seed N]`.

Every input is a valid one with a few bytes changed, or one made to hurt. It must be refused with a UserError, or mean
what a valid file means; anything else is a crash or a silent acceptance. Prints a table; exit code 1 for either.
"""

from __future__ import annotations

import argparse
import io
import json
import pickle
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from data.keypoints import FAR, read_face_points, read_people
from data.pictures import open_map, open_picture, picture_size
from options.parsing import option_texts
from options.stored import as_arguments
from options.train import parse_train, training_parser
from util.checkpoint import load_state, read_weights
from util.errors import UserError

LONGEST = 20  # seconds for one input
MEMORY = 12 * 2**30  # bytes of address space, most of it torch's own

Reading = Callable[[Path], bool]  # whether what was read is what a valid file means; UserError refuses


@dataclass(frozen=True)
class Kind:
    """valid: what mutations start from. hostile: made to hurt. suffix: of the file they are written to."""

    name: str
    suffix: str
    valid: bytes
    hostile: Sequence[bytes]
    read: Reading


def mutated(valid: bytes, rng: random.Random) -> bytes:
    """One to four small accidents."""
    data = bytearray(valid)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 4, 16, 200))
        accident = rng.randrange(6)
        if accident == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif accident == 1:
            del data[at:at + length]
        elif accident == 2:
            data[at:at] = rng.randbytes(length)
        elif accident == 3:
            data[at:at + length] = rng.choice((b"\0", b"\xff", b"-", b"9", b"[", b"\n")) * length
        elif accident == 4:
            data[at:at] = data[at:at + length] * rng.choice((1, 2, 50))
        else:
            del data[at:]
    return bytes(data)


# keypoints


def face_text() -> bytes:
    return "\n".join(f"{100 + i},{200 - i}" for i in range(68)).encode()


def read_face(path: Path) -> bool:
    points = read_face_points(path)
    return points.shape == (68, 2) and bool((np.abs(points) <= FAR).all())


def openpose() -> bytes:
    person = {"pose_keypoints_2d": [10, 20, 0.9] * 25, "face_keypoints_2d": [30, 40, 0.5] * 70}
    return json.dumps({"version": 1.3, "people": [person]}).encode()


def read_pose(path: Path) -> bool:
    people = read_people(path)
    json.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))  # raises where a lenient reader guessed
    return all(np.isfinite(part).all() and (np.abs(part) <= FAR).all() for person in people
               for part in (person.body, person.left_hand, person.right_hand, person.face))


# pictures


def picture(form: str) -> bytes:
    y, x = np.mgrid[:24, :40]
    pixels = np.stack([x * 6, y * 10, (x + y) * 4], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def png(width: int, height: int, body: bytes, kind: int = 2) -> bytes:
    """With right checksums, whatever it claims."""
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def hostile_pictures() -> list[bytes]:
    zeros = zlib.compress(bytes(10**6))
    gif = io.BytesIO()
    Image.new("L", (8, 8)).save(gif, "GIF")
    return [png(100_000, 100_000, zeros), png(2**31 - 1, 1, zeros), png(0, 5, zeros), png(20_000, 20_000, zeros),
            png(40, 24, b""), gif.getvalue(), b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"",
            b"P6 99999999 9 255\n"]


def read_png(path: Path) -> bool:
    """Checksums leave no room for other pixels."""
    original = np.asarray(Image.open(io.BytesIO(picture("PNG"))))
    return np.array_equal(np.asarray(open_map(path)), original)


def read_jpeg(path: Path) -> bool:
    """JPEG has no checksums: other pixels may come, of the size that the header says."""
    image = open_picture(path)
    return image.mode == "RGB" and image.size == picture_size(path)


# flags


def flags() -> bytes:
    return b"--name a --ngf 8 --lr 0.001 --label_nc 35 --fg --fg_labels 26,27 --niter 3 --resize_or_crop none --seed 5"


def read_flags(path: Path) -> bool:
    """Finite, and the same again when they are written down and read."""
    options = parse_train(path.read_bytes().decode("utf-8", "surrogateescape").split(" "))
    again = parse_train(as_arguments(training_parser(), option_texts(options)))
    finite = all(np.isfinite(value) for key, value in vars(options).items()
                 if isinstance(value, float) and key != "max_dataset_size")
    return option_texts(again) == option_texts(options) and finite


# checkpoints


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def checkpoint(zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(network().state_dict(), file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


class _Runs:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return exec, ("raise SystemExit('code in a checkpoint was executed')",)


def rezipped(compression: int, extra: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(checkpoint())) as old, zipfile.ZipFile(file, "w", compression) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry) + extra)
    return file.getvalue()


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def hostile_checkpoints() -> list[bytes]:
    state = dict(network().state_dict())
    strange = ("text", torch.zeros(4, dtype=torch.complex64), torch.zeros(4).to_sparse(),
               torch.zeros(4, device="meta"), torch.zeros(1).expand(10**12))
    return [pickle.dumps(_Runs()), pickle.dumps({"0.weight": _Runs()}), rezipped(zipfile.ZIP_DEFLATED, bytes(10**7)),
            b"", saved([1, 2]), saved({"0.weight": 3}), saved({1: torch.zeros(2)}),
            *(saved(state | {"0.bias": bias}) for bias in strange)]


def read_checkpoint(path: Path) -> bool:
    """Checksums leave no room for other weights."""
    loaded = network()
    load_state(loaded, read_weights(path, "--name"), str(path))
    original = network().state_dict()
    return all(torch.equal(value, original[key]) for key, value in loaded.state_dict().items())


def read_old_checkpoint(path: Path) -> bool:
    """Files from before torch 1.6 have no checksums: other numbers may come, but for the right names and shapes."""
    load_state(network(), read_weights(path, "--name"), str(path))
    return True


def kinds() -> list[Kind]:
    numbers = [b'{"people": [{"pose_keypoints_2d": [' + number + b", 1" * 74 + b"]}]}"
               for number in (b"NaN", b"1e999", b"9" * 5000, b"-Infinity")]
    deep = [b"[" * 10**5, b'{"people":' * 10**5, b" " * 10**7, b'{"people": [' + b"{}," * 10**5 + b"{}]}", *numbers]
    lines = [b"1,2\n" * 10**6, b"nan,1\n" * 68, b"1e400,1\n" * 68, b"9" * 10**7, b"\xff\xfe" * 99]
    arguments = [b"--ngf 1" + b"0" * 400, b"--lr nan", b"--lr inf", b"--name a\xff", b"--name a\nngf:_3",
                 b"--name ../../x", b"--name /etc/x", b"--ngf 99999999999", b"--loadSize 999999999",
                 b"--n_frames_G 1000000", b"--lambda_F inf"]
    return [
        Kind("face keypoints", ".txt", face_text(), lines, read_face),
        Kind("OpenPose JSON", ".json", openpose(), deep, read_pose),
        Kind("PNG", ".png", picture("PNG"), hostile_pictures(), read_png),
        Kind("JPEG", ".jpg", picture("JPEG"), hostile_pictures(), read_jpeg),
        Kind("flags", ".flags", flags(), arguments, read_flags),
        Kind("checkpoint", ".pth", checkpoint(), hostile_checkpoints(), read_checkpoint),
        Kind("old checkpoint", ".pth", checkpoint(zipped=False), hostile_checkpoints(), read_old_checkpoint)]


def too_long(_signal: int, _frame: object) -> None:
    raise TimeoutError(f"more than {LONGEST} s")


def verdict(kind: Kind, path: Path) -> str:
    """Of one input. Whatever is no UserError is a crash, SystemExit (executed code, argparse) among them."""
    try:
        return "as valid" if kind.read(path) else "silently accepted"
    except UserError as refusal:
        return "refused" if "\n" not in str(refusal) else "crashed: a refusal of several lines"
    except (Exception, SystemExit, Warning) as fault:  # noqa: BLE001  what is sought
        return f"crashed: {type(fault).__name__}: {str(fault)[:100]}"


def attack(kind: Kind, count: int, seed: int, folder: Path) -> tuple[Counter[str], float]:
    """Verdicts of `count` mutations and of all hostile inputs; the longest took so many seconds. Crashes are kept."""
    rng, verdicts, longest = random.Random(f"{seed} {kind.name}"), Counter[str](), 0.0
    path = folder / f"input{kind.suffix}"
    for content in (kind.valid, *kind.hostile, *(mutated(kind.valid, rng) for _ in range(count))):
        path.write_bytes(content)
        began = time.monotonic()
        signal.alarm(LONGEST)
        said = verdict(kind, path)
        signal.alarm(0)
        longest = max(longest, time.monotonic() - began)
        verdicts[said.split(":")[0]] += 1
        if said not in ("refused", "as valid"):
            print(f"{kind.name}: {said}: {content[:60]!r}", file=sys.stderr)
    return verdicts, longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per_kind", type=int, default=900, help="mutations of each kind")
    args = parser.parse_args()
    warnings.simplefilter("error")
    signal.signal(signal.SIGALRM, too_long)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    total: Counter[str] = Counter()
    print(f"seed {args.seed}\n\n| input | tried | refused cleanly | as valid | silently accepted | crashed | slowest |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds():
            verdicts, longest = attack(kind, args.per_kind, args.seed, Path(folder))
            total += verdicts
            print(row(kind.name, verdicts), f"{longest:.2f} s |", flush=True)
    print(row("all", total), "|")
    sys.exit(bool(total["crashed"] or total["silently accepted"]))


def row(name: str, verdicts: Counter[str]) -> str:
    columns = (verdicts[key] for key in ("refused", "as valid", "silently accepted", "crashed"))
    return f"| {name} | {verdicts.total()} | " + " | ".join(map(str, columns)) + " |"


if __name__ == "__main__":
    main()
