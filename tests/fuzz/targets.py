"""Kinds of untrusted input for the fuzzers: a valid input, hostile inputs, and a check that reads them."""

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

from data.image_io import open_image, open_image_unconverted, read_image_size
from data.keypoints import MAX_COORDINATE, read_face_points, read_people
from data.street import StreetFrameReader
from models.networks.config import MAX_CONFIG_VALUE, MODEL_CONFIG_FILE, ModelConfig
from models.training.resume import LATEST_STATE_FILE, read_training_state
from options.configs import model_config
from options.opt_file import to_cli_arguments
from options.parsing import stringify_options
from options.test import parse_test
from options.train import build_train_parser, parse_train
from util.io.archive import unpack_archive
from util.io.state_dict import load_state_dict_strict, safe_load_state_dict
from util.io.video import VideoWriter, read_frames

# Reads a file; returns whether the result is what a valid file means. UserError refuses the file.
CheckFunction = Callable[[Path], bool]


@dataclass(frozen=True)
class FuzzTarget:
    """A kind of untrusted input.

    Attributes:
        name: Name of the kind.
        suffix: Suffix of the file that inputs are written to.
        valid: A valid input, which mutations start from.
        hostile: Inputs written to do harm.
        check: Reads an input.
    """

    name: str
    suffix: str
    valid: bytes
    hostile: Sequence[bytes]
    check: CheckFunction


# keypoints


def make_face_keypoints() -> bytes:
    return "\n".join(f"{100 + i},{200 - i}" for i in range(68)).encode()


def check_face_keypoints(path: Path) -> bool:
    points = read_face_points(path)
    return points.shape == (68, 2) and bool((np.abs(points) <= MAX_COORDINATE).all())


def make_openpose_json() -> bytes:
    person = {"pose_keypoints_2d": [10, 20, 0.9] * 25, "face_keypoints_2d": [30, 40, 0.5] * 70}
    return json.dumps({"version": 1.3, "people": [person]}).encode()


def check_openpose_json(path: Path) -> bool:
    people = read_people(path)
    # The strict parser raises where a lenient reader would have guessed.
    json.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    parts = [
        part
        for person in people
        for part in (person.body, person.left_hand, person.right_hand, person.face)
    ]
    return all(np.isfinite(part).all() and (np.abs(part) <= MAX_COORDINATE).all() for part in parts)


# images


def encode_image(image_format: str) -> bytes:
    y, x = np.mgrid[:24, :40]
    pixels = np.stack([x * 6, y * 10, (x + y) * 4], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, image_format)
    return file.getvalue()


def encode_png(width: int, height: int, data: bytes, color_type: int = 2) -> bytes:
    """Encode a PNG with valid checksums, whether or not the header matches the data."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def make_hostile_images() -> list[bytes]:
    zeros = zlib.compress(bytes(10**6))
    gif = io.BytesIO()
    Image.new("L", (8, 8)).save(gif, "GIF")
    return [
        encode_png(100_000, 100_000, zeros),
        encode_png(2**31 - 1, 1, zeros),
        encode_png(0, 5, zeros),
        encode_png(20_000, 20_000, zeros),
        encode_png(40, 24, b""),
        gif.getvalue(),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"",
        b"P6 99999999 9 255\n",
    ]


def check_png(path: Path) -> bool:
    """A PNG has checksums, so only the original pixels are accepted."""
    original = np.asarray(Image.open(io.BytesIO(encode_image("PNG"))))
    return np.array_equal(np.asarray(open_image_unconverted(path)), original)


def check_jpeg(path: Path) -> bool:
    """A JPEG has no checksums: other pixels are accepted if they have the size in the header."""
    image = open_image(path)
    return image.mode == "RGB" and image.size == read_image_size(path)


# flags


def make_flags() -> bytes:
    return b"--name a --ngf 8 --lr 0.001 --label_nc 35 --fg --fg_labels 26,27 --niter 3 --resize_or_crop none --seed 5"


def check_flags(path: Path) -> bool:
    """Accepted options are finite, and the same after they were saved and loaded."""
    options = parse_train(path.read_bytes().decode("utf-8", "surrogateescape").split(" "))
    saved = stringify_options(options)
    loaded = parse_train(to_cli_arguments(build_train_parser(), saved))
    numbers = [
        value
        for key, value in vars(options).items()
        if isinstance(value, float) and key != "max_dataset_size"  # infinite by default
    ]
    return stringify_options(loaded) == saved and bool(np.isfinite(numbers).all())


# checkpoints


def build_fuzz_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def make_checkpoint(use_zip: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(build_fuzz_network().state_dict(), file, _use_new_zipfile_serialization=use_zip)
    return file.getvalue()


class _ExecutesCode:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return exec, ("raise SystemExit('code in a checkpoint was executed')",)


def rezip_checkpoint(compression: int, extra: bytes) -> bytes:
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(make_checkpoint())) as source,
        zipfile.ZipFile(file, "w", compression) as target,
    ):
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry) + extra)
    return file.getvalue()


def serialize_object(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def make_hostile_checkpoints() -> list[bytes]:
    state = dict(build_fuzz_network().state_dict())
    unsupported = (
        "text",
        torch.zeros(4, dtype=torch.complex64),
        torch.zeros(4).to_sparse(),
        torch.zeros(4, device="meta"),
        torch.zeros(1).expand(10**12),
    )
    return [
        pickle.dumps(_ExecutesCode()),
        pickle.dumps({"0.weight": _ExecutesCode()}),
        rezip_checkpoint(zipfile.ZIP_DEFLATED, bytes(10**7)),
        b"",
        serialize_object([1, 2]),
        serialize_object({"0.weight": 3}),
        serialize_object({1: torch.zeros(2)}),
        *(serialize_object(state | {"0.bias": bias}) for bias in unsupported),
    ]


def check_checkpoint(path: Path) -> bool:
    """A zip has checksums, so only the original weights are accepted."""
    loaded = build_fuzz_network()
    load_state_dict_strict(loaded, safe_load_state_dict(path, "--name"), str(path))
    original = build_fuzz_network().state_dict()
    return all(torch.equal(value, original[key]) for key, value in loaded.state_dict().items())


def check_old_checkpoint(path: Path) -> bool:
    """The format before torch 1.6 has no checksums: other values of the right keys and shapes are accepted."""
    load_state_dict_strict(build_fuzz_network(), safe_load_state_dict(path, "--name"), str(path))
    return True


# runs


def make_opt_file() -> bytes:
    texts = stringify_options(
        parse_train(["--name", "run", "--label_nc", "35", "--ngf", "8", "--fg", "--no_first_img"])
    )
    return "".join(f"{key}: {text}\n" for key, text in texts.items()).encode()


def check_opt_file(path: Path) -> bool:
    """test.py accepts the run's options, and reads the same twice."""
    (path.parent / "run").mkdir(exist_ok=True)
    path.replace(path.parent / "run/opt.txt")
    argv = ["--name", "run", "--checkpoints_dir", str(path.parent)]
    first, second = (stringify_options(parse_test(argv)) for _ in range(2))
    return first == second and first["name"] == "run"


def make_model_config_file() -> bytes:
    options = parse_train(["--name", "run", "--label_nc", "35", "--ngf", "8", "--fg"])
    with tempfile.TemporaryDirectory() as folder:
        model_config(options).save(Path(folder))
        return (Path(folder) / MODEL_CONFIG_FILE).read_bytes()


def check_model_config_file(path: Path) -> bool:
    """An accepted file describes a network that can be built, and is the same after a round trip."""
    path.replace(path.parent / MODEL_CONFIG_FILE)
    config = ModelConfig.load(path.parent)
    config.save(path.parent)
    return ModelConfig.load(path.parent) == config and config.generator.width <= MAX_CONFIG_VALUE


def make_training_state() -> bytes:
    return serialize_object(
        {
            "run": {"epoch": 2, "step": 3},
            "random": {"torch": torch.get_rng_state()},
            "optimizers": {},
            "options": {"ngf": "8"},
            "networks": {"G0": dict(build_fuzz_network().state_dict())},
        }
    )


def check_training_state(path: Path) -> bool:
    """A zip has checksums, so only the original state is accepted."""
    path.replace(path.parent / LATEST_STATE_FILE)
    state = read_training_state(path.parent)
    weight = state["networks"]["G0"]["0.weight"]
    original = build_fuzz_network().state_dict()["0.weight"]
    return state["run"] == {"epoch": 2, "step": 3} and torch.equal(weight, original)


# label maps, archives, videos


def make_label_map_file() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(24 * 40, dtype=np.uint8).reshape(24, 40) % 3).save(file, "PNG")
    return file.getvalue()


def check_label_map_file(path: Path) -> bool:
    """A PNG has checksums, so only the original labels are accepted."""
    StreetFrameReader(label_nc=3, input_nc=3, use_instance=False).validate_files(
        {"condition": path}
    )
    original = make_label_map_file()
    if path.read_bytes() == original:
        return True
    labels = np.asarray(open_image_unconverted(path))
    return np.array_equal(labels, np.asarray(Image.open(io.BytesIO(original))))


def make_instance_map_file() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(24 * 40, dtype=np.uint16).reshape(24, 40)).save(file, "TIFF")
    return file.getvalue()


def check_instance_map_file(path: Path) -> bool:
    """A TIFF has no checksums: other ids are accepted if they are one channel of the size in the header."""
    StreetFrameReader(label_nc=3, input_nc=3, use_instance=True).validate_files({"instance": path})
    ids = np.asarray(open_image_unconverted(path))
    return ids.ndim == 2 and ids.shape[::-1] == read_image_size(path)


def make_archive(archive_format: str, *names: str) -> bytes:
    file = io.BytesIO()
    if archive_format == "zip":
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


def make_hostile_archives() -> list[bytes]:
    bomb, link = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros", bytes(10**7))
    with tarfile.open(fileobj=link, mode="w") as packed_tar:
        member = tarfile.TarInfo("a")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed_tar.addfile(member)
    strays = [
        make_archive(form, name)
        for form in ("zip", "tar")
        for name in ("../stray", "/tmp/stray", "a/../../stray")
    ]
    return [b"", bomb.getvalue(), link.getvalue(), *strays]


def check_archive(path: Path) -> bool:
    """Nothing is written outside the folder, and no more than allowed in it."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        target = Path(folder) / "target"
        unpack_archive(path, target, max_bytes=10**6)
        n_bytes = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
        return list(Path(folder).iterdir()) == [target] and n_bytes <= 10**6


def make_video_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "valid.mp4"
        with VideoWriter(path, 10, (40, 24)) as writer:
            for i in range(6):
                writer.write(np.full((24, 40, 3), 40 * i, np.uint8))
        return path.read_bytes()


def check_video_file(path: Path) -> bool:
    """H.264 has no checksums: other pixels are accepted if all frames have one size."""
    return len({frame.shape for frame in read_frames(path)}) <= 1


_HOSTILE_FACE_KEYPOINTS = (
    b"1,2\n" * 10**6,
    b"nan,1\n" * 68,
    b"1e400,1\n" * 68,
    b"9" * 10**7,
    b"\xff\xfe" * 99,
)
_HOSTILE_OPENPOSE_JSON = (
    b"[" * 10**5,
    b'{"people":' * 10**5,
    b" " * 10**7,
    b'{"people": [' + b"{}," * 10**5 + b"{}]}",
    *(
        b'{"people": [{"pose_keypoints_2d": [' + number + b", 1" * 74 + b"]}]}"
        for number in (b"NaN", b"1e999", b"9" * 5000, b"-Infinity")
    ),
)
_HOSTILE_FLAGS = (
    b"--ngf 1" + b"0" * 400,
    b"--lr nan",
    b"--lr inf",
    b"--name a\xff",
    b"--name a\nngf:_3",
    b"--name ../../x",
    b"--name /etc/x",
    b"--ngf 99999999999",
    b"--loadSize 999999999",
    b"--n_frames_G 1000000",
    b"--lambda_F inf",
)
_HOSTILE_OPT_FILES = (
    b"",
    b"ngf: 9" + b"9" * 400,
    b"ngf: nan\n",
    b"x" * 2**21,
    b"\xff: \xfe\n",
    b"dataroot: a\0b\n",
    b"name: ../../x\nngf: 8\n",
    b"ngf: 8\n" * 10**4,
)


def make_hostile_model_configs() -> list[bytes]:
    valid = make_model_config_file()
    return [
        b"",
        b"[]",
        b"[" * 10**5,
        b"{" * 10**6,
        valid.replace(b'"batch"', b"NaN"),
        valid.replace(b'"width": 8', b'"width": 8' + b"0" * 9),
    ]


def build_fuzz_targets() -> list[FuzzTarget]:
    images = make_hostile_images()
    checkpoints = make_hostile_checkpoints()
    archives = make_hostile_archives()
    return [
        FuzzTarget(
            "face keypoints",
            ".txt",
            make_face_keypoints(),
            _HOSTILE_FACE_KEYPOINTS,
            check_face_keypoints,
        ),
        FuzzTarget(
            "OpenPose JSON",
            ".json",
            make_openpose_json(),
            _HOSTILE_OPENPOSE_JSON,
            check_openpose_json,
        ),
        FuzzTarget("PNG", ".png", encode_image("PNG"), images, check_png),
        FuzzTarget("JPEG", ".jpg", encode_image("JPEG"), images, check_jpeg),
        FuzzTarget("flags", ".flags", make_flags(), _HOSTILE_FLAGS, check_flags),
        FuzzTarget("checkpoint", ".pth", make_checkpoint(), checkpoints, check_checkpoint),
        FuzzTarget(
            "old checkpoint",
            ".pth",
            make_checkpoint(use_zip=False),
            checkpoints,
            check_old_checkpoint,
        ),
        FuzzTarget(
            "training state",
            ".pth",
            make_training_state(),
            checkpoints,
            check_training_state,
        ),
        FuzzTarget("opt.txt", ".txt", make_opt_file(), _HOSTILE_OPT_FILES, check_opt_file),
        FuzzTarget(
            "networks.json",
            ".json",
            make_model_config_file(),
            make_hostile_model_configs(),
            check_model_config_file,
        ),
        FuzzTarget("label map", ".png", make_label_map_file(), images, check_label_map_file),
        FuzzTarget(
            "instance map",
            ".tiff",
            make_instance_map_file(),
            images,
            check_instance_map_file,
        ),
        FuzzTarget("zip", ".zip", make_archive("zip", "a/b", "c"), archives, check_archive),
        FuzzTarget(
            "tar.gz",
            ".tar.gz",
            make_archive("tar", "a/b", "c"),
            archives,
            check_archive,
        ),
        FuzzTarget(
            "video",
            ".mp4",
            make_video_file(),
            [b"", b"\0" * 1000, encode_image("PNG")[:40]],
            check_video_file,
        ),
    ]
