"""Tests of the synthesizer: states, steps, batches of sequences, and loading a run by its folder."""

import doctest
import gc
from dataclasses import replace

import pytest
import torch

from models.inference import first_frame, synthesizer
from models.inference.synthesizer import Synthesizer, SynthesizerState
from models.ops.compile import CompiledFrameGenerator
from options import configs
from options.build_inference import load_synthesizer
from options.from_checkpoint import load_run_options
from options.parsing import format_opt_file
from tests.tiny import save_tiny_run, split_frames, street_clip, tiny_networks, tiny_options
from util.errors import UserError

CPU = torch.device("cpu")


def tiny_synthesizer(flags):
    options = tiny_options(f"--label_nc 5 {flags}")
    starts_from_zeros = "--no_first_img" in flags
    get_first_images = (
        first_frame.make_zero_images if starts_from_zeros else first_frame.get_real_images
    )
    netG = tiny_networks(options).netG
    return Synthesizer.from_generators(netG, configs.synthesis_config(options), get_first_images)


def assert_equal(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_docstring_example_runs(tmp_path):
    save_tiny_run(tmp_path / "run", "--input_nc 1 --no_first_img")
    result = doctest.testmod(synthesizer, extraglobs={"checkpoint": tmp_path / "run"})
    assert result.attempted >= 4 and result.failed == 0


def test_steps_are_compiled_only_on_request(tmp_path):
    save_tiny_run(tmp_path / "run", "--input_nc 1 --no_first_img")
    eager = Synthesizer.from_checkpoint(tmp_path / "run")
    compiled = Synthesizer.from_checkpoint(tmp_path / "run", use_compile=True)
    assert not isinstance(eager.config.generate_frame, CompiledFrameGenerator)
    assert compiled.config.generate_frame == CompiledFrameGenerator()


@pytest.mark.parametrize("flags", ["", "--no_first_img"])
def test_steps_equal_synthesis_and_every_sequence_has_its_own_state(flags):
    stepper = tiny_synthesizer(f"--use_instance {flags}")
    frames = split_frames(street_clip(6, 20, 28))
    expected = [image for _, image in stepper.synthesize(frames)]
    for _ in range(2):
        state, images = stepper.init(), []
        for frame in frames:
            image, state = stepper.step(
                state, frame.condition[:, 0], frame.image[:, 0], frame.instance[:, 0]
            )
            images.append(image)
        assert images[:2] == [None, None]
        for image, expected_image in zip(images[2:], expected, strict=True):
            assert_equal(image, expected_image)


def test_steps_from_one_state_do_not_affect_each_other():
    stepper = tiny_synthesizer("--no_first_img --n_scales_spatial 2")
    *frames, last = split_frames(street_clip(5, 16, 24))
    state = stepper.init()
    for frame in frames:
        _, state = stepper.step_clip(state, frame)
    first, _ = stepper.step_clip(state, last)
    stepper.step_clip(state, frames[0])
    again, _ = stepper.step_clip(state.to(CPU), last)
    assert_equal(again, first)


def test_observed_frames_change_conditions_alone():
    stepper = tiny_synthesizer("--no_first_img")
    frames = split_frames(street_clip(5, 16, 24))
    state = stepper.init()
    for frame in frames[:3]:
        _, state = stepper.step_clip(state, frame)
    observed = stepper.observe(state, frames[3])
    assert observed.history is state.history and not observed.is_first
    for mine, theirs in zip(observed.conditions[:-1], state.conditions[1:], strict=True):
        assert mine is theirs


def test_first_frames_are_kept_until_the_history_exists():
    stepper = tiny_synthesizer("")
    frames = split_frames(street_clip(4, 18, 24))
    state, counts = stepper.init(), []
    for frame in frames:
        state = stepper.observe(state, frame)
        counts.append(len(state.first_frames))
    assert counts == [1, 2, 0, 0]
    assert state.history.images[0].shape == (1, 2, 3, 20, 24)


@pytest.mark.parametrize("flags", ["", "--use_instance --n_scales_spatial 2"])
def test_stacked_states_are_selected_unchanged(flags):
    stepper = tiny_synthesizer(f"--no_first_img {flags}")
    clip = street_clip(4, 16, 24, batch=2)
    states = [stepper.init(), stepper.init()]
    for frame in split_frames(clip):
        for b in range(2):
            states[b] = stepper.observe(states[b], frame.slice_batch(b, b + 1))
    stacked = SynthesizerState.stack(states)
    for b, state in enumerate(states):
        expected, _ = stepper.generate(state)
        image, _ = stepper.generate(stacked.select(b))
        assert_equal(image, expected)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_batched_streams_equal_separate_streams(norm):
    options = tiny_options(f"--label_nc 5 --no_first_img --norm {norm}")
    config = configs.synthesis_config(options)

    def get_first_images(frames):
        return first_frame.make_zero_images(frames).double()

    stepper = Synthesizer.from_generators(
        tiny_networks(options).netG.double(), config, get_first_images
    )
    clip = street_clip(5, 16, 24, batch=2)
    states = {"both": stepper.init(), "second": stepper.init()}
    for t in range(5):
        condition = clip.condition[:, t]
        both, states["both"] = stepper.step(states["both"], condition)
        second, states["second"] = stepper.step(states["second"], condition[1:])
        if both is not None:
            torch.testing.assert_close(both[1:], second, rtol=0, atol=1e-12)


def test_memory_of_old_frames_is_freed():
    stepper = tiny_synthesizer("--no_first_img")
    state = stepper.init()

    def count_tensors_after(n_steps):
        nonlocal state
        for _ in range(n_steps):
            _, state = stepper.step(state, street_clip(1, 16, 24).condition[:, 0])
        gc.collect()
        return sum(issubclass(type(item), torch.Tensor) for item in gc.get_objects())

    count_tensors_after(5)
    assert count_tensors_after(5) == count_tensors_after(10)


@pytest.mark.parametrize(
    "flags",
    [
        "--no_first_img --n_frames_G 2",
        "--use_instance --fg --fg_labels 1,3",
        "--n_scales_spatial 2 --norm instance --checkpoint_activations",
    ],
)
def test_a_run_is_loaded_by_its_folder_alone(flags, tmp_path):
    options, netG = save_tiny_run(tmp_path / "run", f"--label_nc 5 {flags}")
    expected = replace(tiny_synthesizer(flags), netG=netG, config=configs.synthesis_config(options))
    by_files = Synthesizer.from_checkpoint(tmp_path / "run")
    by_options = load_synthesizer(load_run_options(tmp_path / "run", "--gpu_ids", "-1"))
    assert by_files.config == by_options.config == expected.config
    frames = split_frames(street_clip(4, 16, 24))
    images = [
        torch.stack([image for _, image in loaded.synthesize(frames)])
        for loaded in (expected, by_files, by_options)
    ]
    assert_equal(images[1], images[0])
    assert_equal(images[2], images[0])


def test_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"opt\.txt does not exist"):
        load_run_options(tmp_path)
    with pytest.raises(UserError, match=r"networks\.json is not there.*load_synthesizer"):
        Synthesizer.from_checkpoint(tmp_path)
    (tmp_path / "networks.json").write_text('{"generator": {"width": 8}}')
    with pytest.raises(UserError, match=r"networks\.json does not describe networks.*foreground"):
        Synthesizer.from_checkpoint(tmp_path)


def test_real_first_frames_are_required_if_training_used_them(tmp_path):
    (tmp_path / "opt.txt").write_text(format_opt_file(tiny_options("--label_nc 5")))
    assert load_run_options(tmp_path, "--gpu_ids", "-1").use_real_img


@pytest.mark.parametrize("flags", [["--single_G", "x"], ["--single_G=x"]])
def test_explicit_first_frames_are_used(tmp_path, flags):
    (tmp_path / "opt.txt").write_text(format_opt_file(tiny_options("--label_nc 5")))
    assert not load_run_options(tmp_path, "--gpu_ids", "-1", *flags).use_real_img


def test_step_by_step_synthesis_refuses_key_frames(tmp_path):
    (tmp_path / "opt.txt").write_text(format_opt_file(tiny_options("--label_nc 5")))
    with pytest.raises(UserError, match="--keyframes 2"):
        load_synthesizer(load_run_options(tmp_path, "--gpu_ids", "-1", "--keyframes", "2"))
