"""Export of one synthesis step as a pure function of tensors, for ONNX and torch.export."""

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
    """One synthesis step of one sequence, with the history as input and output.

    At the start of a sequence the history holds real images, or zeros; coarser scales are average-pooled.
    """

    def __init__(self, networks: nn.ModuleList, no_warp: bool) -> None:
        """Wrap the generators.

        Args:
            networks: the generators, coarsest first.
            no_warp: return the raw image, for the first frame of generators trained with
                `--no_first_img`.
        """
        super().__init__()
        self.networks = networks
        self.no_warp = no_warp

    def forward(self, condition: Tensor, *histories: Tensor) -> TensorTuple:
        """Generate one image.

        Args:
            condition: (1, n_frames_G, C, H, W), encoded, of this frame and the previous ones.
            histories: (1, n_frames_G - 1, 3, h, w) in [-1, 1] for each scale, finest first.

        Returns:
            The image (1, 3, H, W), then the histories for the next frame.
        """
        conditions = build_pyramid(condition, len(self.networks))
        history = History(histories)
        output, images = generate_frame(self.networks, conditions, history, no_warp=self.no_warp)
        return output.image, *history.push(images).images

    def get_io_names(self) -> tuple[list[str], list[str]]:
        """Return the names of the inputs and of the outputs in the exported file."""
        scales = range(len(self.networks))
        # "picture" stays: programs that run exported files refer to the outputs by name.
        inputs = ["condition", *(f"history{s}" for s in scales)]
        outputs = ["picture", *(f"next_history{s}" for s in scales)]
        return inputs, outputs


def build_exportable_generators(synthesizer: Synthesizer) -> dict[str, ExportableFrameGenerator]:
    """Return the steps to export, by the suffix of their files' names.

    "" is the step of every frame. Generators trained with `--no_first_img` have a different first step,
    "_first".
    """
    no_warp_by_suffix = {"": False}
    if synthesizer.config.no_first_img:
        no_warp_by_suffix["_first"] = True
    networks = synthesizer.netG.requires_grad_(False)
    return {
        suffix: ExportableFrameGenerator(networks, no_warp).eval()
        for suffix, no_warp in no_warp_by_suffix.items()
    }


def make_example_inputs(
    synthesizer: Synthesizer, channels: int, size: tuple[int, int], seed: int = 0
) -> TensorTuple:
    """Return noise in the shapes of a step's inputs.

    Args:
        synthesizer: the generators and their configuration.
        channels: of the encoded condition.
        size: (width, height) of the frames.
        seed: of the noise.

    Raises:
        UserError: the generators would need padding.
    """
    width, height = size
    config = synthesizer.config
    if width % config.size_multiple or height % config.size_multiple:
        raise UserError(
            f"--size {width}x{height}: an exported step does not pad, use multiples of {config.size_multiple}"
        )
    rng = torch.Generator().manual_seed(seed)
    condition = torch.rand(1, config.n_frames_G, channels, height, width, generator=rng)
    images = torch.rand(1, config.n_history, 3, height, width, generator=rng) * 2 - 1
    return condition, *History.from_first_images(images, len(synthesizer.netG)).images


def export_program(module: ExportableFrameGenerator, example: TensorTuple, path: Path) -> None:
    """Write a program for `torch.export.load(path).module()`."""
    with torch.no_grad(), atomic_write(path) as temporary:
        torch.export.save(torch.export.export(module, example), temporary)


def export_onnx(module: ExportableFrameGenerator, example: TensorTuple, path: Path) -> None:
    """Write an ONNX file that includes the weights.

    Raises:
        UserError: the exporter's packages are not installed.
    """
    try:
        # torch's exporter imports it, and does not say how to install it
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"ONNX export needs onnx and onnxscript ({error}): pip install -e '.[export]'"
        ) from error
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
    """Yield the images of consecutive frames, from onnxruntime.

    Args:
        path: the exported file.
        conditions: input of each frame.
        histories: input of the first frame; later ones use the outputs of the previous frame.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    history: Sequence[np.ndarray] = [tensor.numpy() for tensor in histories]
    for condition in conditions:
        inputs = dict(zip(names, [condition.numpy(), *history], strict=True))
        image, *history = session.run(None, inputs)
        yield torch.from_numpy(image)


@torch.no_grad()
def run_torch(
    module: ExportableFrameGenerator, conditions: Iterable[Tensor], histories: TensorTuple
) -> Iterator[Tensor]:
    """Yield the images of consecutive frames, from PyTorch. As `run_onnx`."""
    history: Sequence[Tensor] = histories
    for condition in conditions:
        image, *history = module(condition, *history)
        yield image


def compute_onnx_error(
    module: ExportableFrameGenerator,
    path: Path,
    synthesizer: Synthesizer,
    example: TensorTuple,
    n_frames: int = 4,
) -> float:
    """Return the largest difference between images of onnxruntime and PyTorch, each with its own history."""
    (_, _, channels, height, width), histories = example[0].shape, example[1:]
    conditions = [
        make_example_inputs(synthesizer, channels, (width, height), seed)[0]
        for seed in range(n_frames)
    ]
    onnx_images = run_onnx(path, conditions, histories)
    torch_images = run_torch(module, conditions, histories)
    differences = [(a - b).abs().max() for a, b in zip(onnx_images, torch_images, strict=True)]
    return float(torch.stack(differences).max())
