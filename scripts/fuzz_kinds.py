"""What may be hostile, kind by kind: a valid input, inputs made to hurt, and what reads them. For `fuzz_inputs.py`."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from data.keypoints import FAR, read_face_points, read_people
from data.pictures import open_map, open_picture, picture_size
from data.street import Street
from models.saving import STATE, read_state
from options.parsing import option_texts
from options.stored import as_arguments
from options.test import parse_test
from options.train import parse_train, training_parser
from util.archive import unpack
from util.checkpoint import load_state, read_weights
from util.video import VideoWriter, read_frames

Reading = Callable[[Path], bool]  # whether what was read is what a valid file means; UserError refuses


@dataclass(frozen=True)
class Kind:
    """valid: what mutations start from. hostile: made to hurt. suffix: of the file they are written to."""

    name: str
    suffix: str
    valid: bytes
    hostile: Sequence[bytes]
    read: Reading


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


# runs


def options_file() -> bytes:
    texts = option_texts(parse_train(["--name", "run", "--label_nc", "35", "--ngf", "8", "--fg", "--no_first_img"]))
    return "".join(f"{key}: {text}\n" for key, text in texts.items()).encode()


def read_options_file(path: Path) -> bool:
    """What test.py makes of a run's options holds together, and says the same twice."""
    (path.parent / "run").mkdir(exist_ok=True)
    path.replace(path.parent / "run/opt.txt")
    argv = ["--name", "run", "--checkpoints_dir", str(path.parent)]
    once, again = (option_texts(parse_test(argv)) for _ in range(2))
    return once == again and once["name"] == "run"


def state() -> bytes:
    return saved({"run": {"epoch": 2, "step": 3}, "random": {"torch": torch.get_rng_state()}, "optimizers": {},
                  "options": {"ngf": "8"}, "networks": {"G0": dict(network().state_dict())}})


def read_saved_state(path: Path) -> bool:
    """Checksums leave no room for another run."""
    path.replace(path.parent / STATE)
    found = read_state(path.parent)
    return found["run"] == {"epoch": 2, "step": 3} and torch.equal(
        found["networks"]["G0"]["0.weight"], network().state_dict()["0.weight"])


# what comes from elsewhere


def label_map() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(24 * 40, dtype=np.uint8).reshape(24, 40) % 3).save(file, "PNG")
    return file.getvalue()


def read_label_map(path: Path) -> bool:
    """Checksums leave no room for other labels."""
    Street(label_nc=3, input_nc=3, use_instance=False).check({"condition": path})
    return path.read_bytes() == label_map() or np.array_equal(
        np.asarray(open_map(path)), np.asarray(Image.open(io.BytesIO(label_map()))))


def instance_map() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(24 * 40, dtype=np.uint16).reshape(24, 40)).save(file, "TIFF")
    return file.getvalue()


def read_instance_map(path: Path) -> bool:
    """TIFF has no checksums: other ids may come, one channel of the size that the header says."""
    Street(label_nc=3, input_nc=3, use_instance=True).check({"instance": path})
    ids = np.asarray(open_map(path))
    return ids.ndim == 2 and ids.shape[::-1] == picture_size(path)


def archive(form: str, *names: str) -> bytes:
    file = io.BytesIO()
    if form == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            for name in names:
                packed.writestr(name, bytes(100))
    else:
        with tarfile.open(fileobj=file, mode="w:gz") as packed_tar:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = 100
                packed_tar.addfile(member, io.BytesIO(bytes(100)))
    return file.getvalue()


def hostile_archives() -> list[bytes]:
    bomb, link = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros", bytes(10**7))
    with tarfile.open(fileobj=link, mode="w") as packed_tar:
        member = tarfile.TarInfo("a")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed_tar.addfile(member)
    strays = [archive(form, name) for form in ("zip", "tar") for name in ("../stray", "/tmp/stray", "a/../../stray")]
    return [b"", bomb.getvalue(), link.getvalue(), *strays]


def read_archive(path: Path) -> bool:
    """Nothing lands outside the folder, and nothing larger than allowed in it."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        home = Path(folder) / "home"
        unpack(path, home, largest=10**6)
        return {entry.name for entry in Path(folder).iterdir()} == {"home"} and sum(
            file.stat().st_size for file in home.rglob("*") if file.is_file()) <= 10**6


def video() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "valid.mp4"
        with VideoWriter(path, 10, (40, 24)) as writer:
            for i in range(6):
                writer.write(np.full((24, 40, 3), 40 * i, np.uint8))
        return path.read_bytes()


def read_video(path: Path) -> bool:
    """H.264 has no checksums: other pixels may come, of one size."""
    return len({frame.shape for frame in read_frames(path)}) <= 1


def kinds() -> list[Kind]:
    numbers = [b'{"people": [{"pose_keypoints_2d": [' + number + b", 1" * 74 + b"]}]}"
               for number in (b"NaN", b"1e999", b"9" * 5000, b"-Infinity")]
    deep = [b"[" * 10**5, b'{"people":' * 10**5, b" " * 10**7, b'{"people": [' + b"{}," * 10**5 + b"{}]}", *numbers]
    lines = [b"1,2\n" * 10**6, b"nan,1\n" * 68, b"1e400,1\n" * 68, b"9" * 10**7, b"\xff\xfe" * 99]
    arguments = [b"--ngf 1" + b"0" * 400, b"--lr nan", b"--lr inf", b"--name a\xff", b"--name a\nngf:_3",
                 b"--name ../../x", b"--name /etc/x", b"--ngf 99999999999", b"--loadSize 999999999",
                 b"--n_frames_G 1000000", b"--lambda_F inf"]
    options_files = [b"", b"ngf: 9" + b"9" * 400, b"ngf: nan\n", b"x" * 2**21, b"\xff: \xfe\n", b"dataroot: a\0b\n",
                     b"name: ../../x\nngf: 8\n", b"ngf: 8\n" * 10**4]
    return [
        Kind("face keypoints", ".txt", face_text(), lines, read_face),
        Kind("OpenPose JSON", ".json", openpose(), deep, read_pose),
        Kind("PNG", ".png", picture("PNG"), hostile_pictures(), read_png),
        Kind("JPEG", ".jpg", picture("JPEG"), hostile_pictures(), read_jpeg),
        Kind("flags", ".flags", flags(), arguments, read_flags),
        Kind("checkpoint", ".pth", checkpoint(), hostile_checkpoints(), read_checkpoint),
        Kind("old checkpoint", ".pth", checkpoint(zipped=False), hostile_checkpoints(), read_old_checkpoint),
        Kind("training state", ".pth", state(), hostile_checkpoints(), read_saved_state),
        Kind("opt.txt", ".txt", options_file(), options_files, read_options_file),
        Kind("label map", ".png", label_map(), hostile_pictures(), read_label_map),
        Kind("instance map", ".tiff", instance_map(), hostile_pictures(), read_instance_map),
        Kind("zip", ".zip", archive("zip", "a/b", "c"), hostile_archives(), read_archive),
        Kind("tar.gz", ".tar.gz", archive("tar", "a/b", "c"), hostile_archives(), read_archive),
        Kind("video", ".mp4", video(), [b"", b"\0" * 1000, picture("PNG")[:40]], read_video)]


