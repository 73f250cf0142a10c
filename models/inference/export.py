"""The per-frame step as a pure function of tensors, for ONNX and torch.export: history goes in and comes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.inference.synthesizer import Synthesizer
from models.networks.blocks import build_pyramid
from models.networks.rollout import History, generate_frame
from util.errors import UserError
from util.io.atomic import atomic_write

TensorTuple = tuple[Tensor, ...]


class ExportableFrameGenerator(nn.Module):
    """condition (1, tG, C, H, W), as encoded, of this frame and the tG-1 before it, and the history of each scale
    (1, tG-1, 3, h, w) in [-1, 1] -> image (1, 3, H, W), then the histories for the next frame.

    A sequence begins with real images in the history, or with zeros; at the coarser scales average-pooled.
    no_warp: the step for the first frame of networks that begin with zeros: there is nothing yet to warp.
    """

    def __init__(self, networks: nn.ModuleList, no_warp: bool) -> None:
        super().__init__()
        self.networks, self.no_warp = networks, no_warp

    def forward(self, condition: Tensor, *histories: Tensor) -> TensorTuple:
        frame, images = generate_frame(
            self.networks,
            build_pyramid(condition, len(self.networks)),
            History(histories),
            no_warp=self.no_warp,
        )
        return frame.image, *History(histories).push(images).images

    def get_io_names(self) -> tuple[list[str], list[str]]:
        """Of the inputs and of the outputs."""
        scales = range(len(self.networks))
        return ["condition", *(f"history{s}" for s in scales)], [
            "picture",
            *(f"next_history{s}" for s in scales),
        ]


def build_exportable_generators(synthesizer: Synthesizer) -> dict[str, ExportableFrameGenerator]:
    """By the suffix of their files' names: the step, and `_first` where the first frame is made by another one."""
    kinds = {"": False} | ({"_first": True} if synthesizer.config.no_first_img else {})
    networks = synthesizer.netG.requires_grad_(False)
    return {
        suffix: ExportableFrameGenerator(networks, no_warp).eval()
        for suffix, no_warp in kinds.items()
    }


def make_example_inputs(
    synthesizer: Synthesizer, channels: int, size: tuple[int, int], seed: int = 0
) -> TensorTuple:
    """Noise in the shapes of a step's inputs. size: (w, h); UserError where the networks would have to pad it."""
    width, height = size
    if width % synthesizer.config.size_multiple or height % synthesizer.config.size_multiple:
        raise UserError(
            f"--size {width}x{height}: an exported step pads nothing: give multiples of "
            f"{synthesizer.config.size_multiple}"
        )
    dice = torch.Generator().manual_seed(seed)
    past = synthesizer.config.n_frames_G - 1
    condition = torch.rand(1, past + 1, channels, height, width, generator=dice)
    first = torch.rand(1, past, 3, height, width, generator=dice) * 2 - 1
    return condition, *History.from_first_images(first, len(synthesizer.netG)).images


def export_program(module: ExportableFrameGenerator, example: TensorTuple, path: Path) -> None:
    """For `torch.export.load(path).module()`."""
    with torch.no_grad(), atomic_write(path) as temporary:
        torch.export.save(torch.export.export(module, example), temporary)


def export_onnx(module: ExportableFrameGenerator, example: TensorTuple, path: Path) -> None:
    """Weights and all in one file. UserError: the exporter's packages are not installed."""
    try:
        import onnxscript  # noqa: F401  torch's exporter imports it, and tells no user how to get it
    except ImportError as problem:
        raise UserError(
            f"ONNX export needs onnx and onnxscript ({problem}): pip install -e '.[export]'"
        ) from problem
    inputs, outputs = module.get_io_names()
    with torch.no_grad(), atomic_write(path) as temporary:
        torch.onnx.export(
            module,
            example,
            str(temporary),
            input_names=inputs,
            output_names=outputs,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def run_onnx(path: Path, conditions: Iterable[Tensor], histories: TensorTuple) -> Iterator[Tensor]:
    """Images of consecutive frames, each run on the histories that the one before gave."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [about.name for about in session.get_inputs()]
    past: Sequence[np.ndarray] = [history.numpy() for history in histories]
    for condition in conditions:
        image, *past = session.run(None, dict(zip(names, [condition.numpy(), *past], strict=True)))
        yield torch.from_numpy(image)


@torch.no_grad()
def run_torch(
    module: ExportableFrameGenerator, conditions: Iterable[Tensor], histories: TensorTuple
) -> Iterator[Tensor]:
    """The same in PyTorch."""
    for condition in conditions:
        image, *rest = module(condition, *histories)
        histories = tuple(rest)
        yield image


def compute_onnx_error(
    module: ExportableFrameGenerator,
    path: Path,
    synthesizer: Synthesizer,
    example: TensorTuple,
    n_frames: int = 4,
) -> float:
    """The largest difference of a pixel between onnxruntime and PyTorch, frame by frame on their own histories."""
    (_, _, channels, height, width), histories = example[0].shape, example[1:]
    conditions = [
        make_example_inputs(synthesizer, channels, (width, height), seed)[0]
        for seed in range(n_frames)
    ]
    pairs = zip(
        run_onnx(path, conditions, histories), run_torch(module, conditions, histories), strict=True
    )
    return max(float((one - other).abs().max()) for one, other in pairs)
