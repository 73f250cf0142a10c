"""Frame-by-frame synthesis: a state and a condition go in, an image and the next state come out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from models.checkpoint import load_generators
from models.inference.first_frame import FirstImageProvider, get_real_images, make_zero_images
from models.inference.instance_features import (
    FeatureSampler,
    read_feature_sampler,
    sample_feature_maps,
)
from models.inference.prepare import prepare_for_inference
from models.networks.blocks import build_condition_pyramid
from models.networks.config import ModelConfig
from models.networks.generators import build_generator
from models.networks.input_encoding import ConditionConfig, pad_clip
from models.networks.labels import Condition, concatenate_conditions
from models.networks.rollout import FrameGenerator, History, generate_frame
from models.ops.compile import CompiledFrameGenerator
from util.clip import Clip
from util.distributed.amp import Precision

ConditionPyramid = tuple[Condition, ...]  # (B, 1, C, h, w) of one frame per scale, finest first


@dataclass(frozen=True)
class SynthesisConfig:
    """How frames are synthesized, apart from the weights.

    Attributes:
        condition_config: how a clip is encoded as the generators' input.
        n_frames_G: number of frames whose conditions the generators receive.
        size_multiple: frames are padded to multiples of this size, and images cropped back.
        no_first_img: the first image of a sequence is the raw image alone, without warping.
        feature_sampler: samples a feature vector for every region; None for generators without
            instance features.
        is_face: the regions are parts of faces, so that region ids are also the labels.
        amp: half precision of the generators (`--amp`): "off", "bf16" or "fp16".
        generate_frame: the generators' forward pass for one frame: `rollout.generate_frame`, or
            its compiled version (`ops.compile.CompiledFrameGenerator`).
    """

    condition_config: ConditionConfig
    n_frames_G: int
    size_multiple: int
    no_first_img: bool
    feature_sampler: FeatureSampler | None = None
    is_face: bool = False
    amp: str = "off"
    generate_frame: FrameGenerator = generate_frame

    @classmethod
    def from_model_config(
        cls, model: ModelConfig, feature_sampler: FeatureSampler | None = None, amp: str = "off"
    ) -> SynthesisConfig:
        """Return the configuration for the generators that `model` describes."""
        return cls(
            condition_config=model.condition_config,
            n_frames_G=model.generator.n_frames_G,
            size_multiple=model.generator.size_multiple,
            no_first_img=model.no_first_img,
            feature_sampler=feature_sampler,
            is_face=model.is_face,
            amp=amp,
        )

    @property
    def n_history(self) -> int:
        """Number of previous images that the generators receive."""
        return self.n_frames_G - 1

    def encode(self, clip: Clip) -> Condition:
        """Return the generators' input (B, T, C, H, W) for a clip."""
        if self.feature_sampler is None:
            return self.condition_config.encode(clip)
        features = sample_feature_maps(self.feature_sampler, clip, self.is_face)
        return self.condition_config.encode(clip, features)


@dataclass(frozen=True)
class SynthesizerState:
    """State of B sequences of equal size between two steps. Steps return a new state.

    Attributes:
        conditions: encoded conditions of the last n_frames_G frames (fewer at the beginning),
            oldest first.
        first_frames: the padded frames before the first generated one (T = 1 each), until the
            history exists.
        history: the last n_frames_G - 1 images; None before the n_frames_G-th frame.
        is_first: no image has been generated yet.
    """

    conditions: tuple[ConditionPyramid, ...] = ()
    first_frames: tuple[Clip, ...] = ()
    history: History | None = None
    is_first: bool = True

    @staticmethod
    def stack(states: Sequence[SynthesizerState]) -> SynthesizerState:
        """Return one batch of several states, each of which has a history."""
        frames = zip(*(state.conditions for state in states), strict=True)
        histories = [state.history for state in states if state.history is not None]
        assert len(histories) == len(states), "first frames are not batched"
        return replace(
            states[0],
            conditions=tuple(_concatenate_pyramids(pyramids, dim=0) for pyramids in frames),
            history=History.stack(histories),
        )

    def select(self, index: int) -> SynthesizerState:
        """Return the state of one sequence of the batch, as a batch of one."""

        def select_tensor(tensor: Tensor) -> Tensor:
            return tensor[index : index + 1]

        return replace(
            self._apply_to_conditions(select_tensor),
            first_frames=tuple(clip.slice_batch(index, index + 1) for clip in self.first_frames),
            history=None if self.history is None else self.history.select(index),
        )

    def to(self, device: torch.device) -> SynthesizerState:
        """Return the state with all its tensors on `device`."""
        return replace(
            self._apply_to_conditions(lambda tensor: tensor.to(device)),
            first_frames=tuple(clip.to(device) for clip in self.first_frames),
            history=None if self.history is None else self.history.to(device),
        )

    def _apply_to_conditions(self, fn: Callable[[Tensor], Tensor]) -> SynthesizerState:
        def apply(condition: Condition) -> Condition:
            return fn(condition) if isinstance(condition, Tensor) else condition.apply(fn)

        pyramids = tuple(tuple(map(apply, pyramid)) for pyramid in self.conditions)
        return replace(self, conditions=pyramids)


@dataclass(frozen=True)
class Synthesizer:
    """Trained generators with everything that synthesis needs apart from its input.

    A synthesizer does not change: what one step passes to the next is in `SynthesizerState`, whose
    size does not grow. Several sequences of equal size can share a batch: normalization layers use
    the statistics of each sequence separately, so that each result is as it would be alone.

    >>> synthesizer = Synthesizer.from_checkpoint(checkpoint)  # Path("checkpoints/NAME")
    >>> edges = torch.zeros(2, 1, 30, 50)  # the next frame of two sequences
    >>> state = synthesizer.init()
    >>> for _ in range(4):  # n_frames_G = 3: the first two frames have no image
    ...     image, state = synthesizer.step(state, edges)
    ...     print(None if image is None else tuple(image.shape))
    None
    None
    (2, 3, 30, 50)
    (2, 3, 30, 50)

    Attributes:
        netG: the generators, coarsest first, prepared for inference: `from_generators` does it in
            place, `share_for_inference` makes a copy of generators that are being trained.
        config: how frames are synthesized.
        get_first_images: makes the images before the first generated one.
        device: where the generators are.
    """

    netG: nn.ModuleList
    config: SynthesisConfig
    get_first_images: FirstImageProvider = make_zero_images
    device: torch.device = torch.device("cpu")

    @classmethod
    def from_generators(
        cls,
        netG: nn.ModuleList,
        config: SynthesisConfig,
        get_first_images: FirstImageProvider = make_zero_images,
        device: torch.device | str = "cpu",
    ) -> Synthesizer:
        """Return a synthesizer after preparing the generators for inference, in place."""
        device = torch.device(device)
        prepare_for_inference(netG, config.amp, device)
        return cls(netG, config, get_first_images, device)

    @classmethod
    def from_checkpoint(
        cls,
        folder: Path,
        which_epoch: str = "latest",
        use_ema: bool = False,
        device: torch.device | str = "cpu",
        seed: int = 0,
        use_compile: bool = False,
    ) -> Synthesizer:
        """Load the generators of a run from its folder alone.

        A run that was trained without `--no_first_img` needs the real images of the first
        n_frames_G - 1 frames: pass them to `step`.

        Args:
            folder: the run's folder, `checkpoints/NAME`.
            which_epoch: label of the checkpoint.
            use_ema: load the running average of the weights, of a run with `--ema`.
            device: where frames are synthesized.
            seed: of the sampled instance features, for generators that use them.
            use_compile: compile the generators, as `test.py --compile`.

        Raises:
            UserError: weights or networks.json are missing or do not fit. Weights from elsewhere,
                described by flags, are loaded by `options.build_inference.load_synthesizer`.
        """
        model = ModelConfig.load(folder)
        netG = build_generator(model.generator)
        load_generators(netG, folder, which_epoch, uses_ema=use_ema)
        n_features = model.generator.n_features
        sampler = None
        if n_features:
            sampler = read_feature_sampler(folder, n_features, use_table_rows=False, seed=seed)
        config = SynthesisConfig.from_model_config(model, sampler)
        if use_compile:
            config = replace(config, generate_frame=CompiledFrameGenerator())
        get_first_images = make_zero_images if model.no_first_img else get_real_images
        return cls.from_generators(netG, config, get_first_images, device)

    def init(self) -> SynthesizerState:
        """Return the state before the first frame."""
        return SynthesizerState()

    def step(
        self,
        state: SynthesizerState,
        condition: Tensor,
        image: Tensor | None = None,
        instance: Tensor | None = None,
    ) -> tuple[Tensor | None, SynthesizerState]:
        """Synthesize the next frame of every sequence.

        Args:
            state: from `init` or from the previous step.
            condition: (B, 1, H, W) uint8 label ids, or (B, C, H, W) float32.
            image: the real image (B, 3, H, W) in [-1, 1], used for the first n_frames_G - 1 frames.
            instance: instance ids (B, 1, H, W).

        Returns:
            The image (B, 3, H, W) in [-1, 1], None for the first n_frames_G - 1 frames; and the
            next state.
        """
        clip = Clip(
            condition=condition.unsqueeze(1),
            image=None if image is None else image.unsqueeze(1),
            instance=None if instance is None else instance.unsqueeze(1),
            names=(("",),) * len(condition),
        )
        return self.step_clip(state, clip)

    def step_clip(
        self, state: SynthesizerState, clip: Clip
    ) -> tuple[Tensor | None, SynthesizerState]:
        """Synthesize the next frame, a clip with T = 1. As `step`."""
        state = self.observe(state, clip)
        if state.history is None:
            return None, state
        image, state = self.generate(state)
        return crop_padding(image, clip), state

    @torch.no_grad()
    def observe(self, state: SynthesizerState, clip: Clip) -> SynthesizerState:
        """Return the state with the condition of the next frame (T = 1), without its image.

        The n_frames_G-th frame of a sequence also gives the state its history.
        """
        is_first_frame = len(state.conditions) < self.config.n_history
        frame = clip if is_first_frame else replace(clip, image=None)  # moves no image in vain
        padded = pad_clip(frame.to(self.device), self.config.size_multiple)
        pyramid = build_condition_pyramid(self.config.encode(padded), len(self.netG))
        conditions = (*state.conditions, pyramid)[-self.config.n_frames_G :]
        if is_first_frame:
            first_frames = (*state.first_frames, padded)
            return replace(state, conditions=conditions, first_frames=first_frames)
        history = state.history
        if history is None:
            first_images = self.get_first_images(state.first_frames)
            history = History.from_first_images(first_images, len(self.netG))
        return replace(state, conditions=conditions, first_frames=(), history=history)

    @torch.no_grad()
    def generate(self, state: SynthesizerState) -> tuple[Tensor, SynthesizerState]:
        """Return the image of the newest observed frame, (B, 3, H, W) with padding, and the next state."""
        assert state.history is not None
        conditions = _concatenate_pyramids(state.conditions, dim=1)
        no_warp = state.is_first and self.config.no_first_img
        precision = Precision(self.config.amp, self.device.type)
        with precision.autocast():
            output, images = self.config.generate_frame(
                self.netG, conditions, state.history, no_warp=no_warp
            )
        return output.image, replace(state, history=state.history.push(images), is_first=False)

    def synthesize(self, frames: Iterable[Clip]) -> Iterator[tuple[Clip, Tensor]]:
        """Synthesize one sequence, or a batch of sequences of equal length and size.

        Args:
            frames: clips with T = 1, read one at a time.

        Yields:
            Each frame from the n_frames_G-th on, with its image (B, 3, H, W) in [-1, 1].
        """
        state = self.init()
        for clip in frames:
            image, state = self.step_clip(state, clip)
            if image is not None:
                yield clip, image


def crop_padding(image: Tensor, clip: Clip) -> Tensor:
    """Return the part of `image` (B, 3, H, W) without the padding of `clip`."""
    height, width = clip.condition.shape[-2:]
    return image[..., :height, :width]


def _concatenate_pyramids(pyramids: Sequence[ConditionPyramid], dim: int) -> ConditionPyramid:
    """Concatenate each scale, along the batch (dim 0) or in time order (dim 1)."""
    scales = zip(*pyramids, strict=True)
    return tuple(concatenate_conditions(scale, dim) for scale in scales)
