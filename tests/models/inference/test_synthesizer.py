import doctest
import gc

import pytest
import torch

from models.inference import first_frame, synthesizer
from models.inference.synthesis import synthesize
from models.inference.synthesizer import Synthesizer
from models.ops.compile import CompiledFrameGenerator
from options import configs
from options.from_checkpoint import load_run_options, load_synthesizer
from options.parsing import format_opt_file
from tests.tiny import save_tiny_run, street_clip, tiny_networks, tiny_options
from util.errors import UserError

CPU = torch.device("cpu")


def test_docstring_example_runs(tmp_path):
    save_tiny_run(tmp_path / "run", "--input_nc 1 --no_first_img")
    found = doctest.testmod(synthesizer, extraglobs={"checkpoint": tmp_path / "run"})
    assert found.attempted >= 6 and found.failed == 0


def test_steps_are_compiled_only_on_request(tmp_path):
    save_tiny_run(tmp_path / "run", "--input_nc 1 --no_first_img")
    plain, compiled = (
        Synthesizer.from_checkpoint(tmp_path / "run", use_compile=choice)
        for choice in (False, True)
    )
    assert (
        not isinstance(plain.config.generate_frame, CompiledFrameGenerator)
        and compiled.config.generate_frame == CompiledFrameGenerator()
    )


@pytest.mark.parametrize("flags", ["", "--no_first_img"])
def test_steps_equal_synthesis_and_restart_after_reset(flags):
    options = tiny_options(f"--label_nc 5 --use_instance {flags}")
    networks, clip = tiny_networks(options).netG, street_clip(6, 20, 28)
    first = first_frame.make_zero_images if flags else first_frame.get_real_images
    frames = [clip.slice_frames(t, t + 1) for t in range(6)]
    expected = [
        made
        for _, made in synthesize(networks, frames, first, configs.synthesis_config(options), CPU)
    ]
    painter = Synthesizer(networks, configs.synthesis_config(options), first)
    for _ in range(2):
        stepped = [
            painter.generate_frame(f.condition[:, 0], f.image[:, 0], f.instance[:, 0])
            for f in frames
        ]
        assert stepped[:2] == [None, None]
        for one, other in zip(stepped[2:], expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
        painter.reset()


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_batched_streams_equal_separate_streams(norm):
    options = tiny_options(f"--label_nc 5 --no_first_img --norm {norm}")
    networks, clip = tiny_networks(options).netG, street_clip(5, 16, 24, batch=2)
    both, alone = (Synthesizer(networks, configs.synthesis_config(options)) for _ in range(2))
    for t in range(5):
        condition = clip.condition[:, t]
        together, single = both.generate_frame(condition), alone.generate_frame(condition[1:])
        if together is not None:
            torch.testing.assert_close(together[1:], single, rtol=1e-4, atol=1e-5)


def test_memory_of_old_frames_is_freed():
    options = tiny_options("--label_nc 5 --no_first_img")
    painter = Synthesizer(tiny_networks(options).netG, configs.synthesis_config(options))

    def tensors_after(steps: int) -> int:
        for _ in range(steps):
            painter.generate_frame(street_clip(1, 16, 24).condition[:, 0])
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    tensors_after(5)
    assert tensors_after(5) == tensors_after(10)


@pytest.mark.parametrize(
    "flags",
    [
        "--no_first_img --n_frames_G 2",
        "--use_instance --fg --fg_labels 1,3",
        "--n_scales_spatial 2 --norm instance --checkpoint_activations",
    ],
)
def test_a_run_is_loaded_by_its_folder_alone(flags, tmp_path):
    options, networks = save_tiny_run(tmp_path / "run", f"--label_nc 5 {flags}")
    clip = street_clip(4, 16, 24)
    first = (
        first_frame.make_zero_images if "--no_first_img" in flags else first_frame.get_real_images
    )
    own = Synthesizer(networks, configs.synthesis_config(options), first)
    by_files = Synthesizer.from_checkpoint(tmp_path / "run")
    by_options = load_synthesizer(load_run_options(tmp_path / "run", "--gpu_ids", "-1"))
    assert by_files.config == by_options.config == own.config
    for t in range(4):
        made = [
            painter.generate_frame_from_clip(clip.slice_frames(t, t + 1))
            for painter in (own, by_files, by_options)
        ]
    torch.testing.assert_close(made[1], made[0], rtol=0, atol=0)
    torch.testing.assert_close(made[2], made[0], rtol=0, atol=0)


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


@pytest.mark.parametrize("given", [["--single_G", "x"], ["--single_G=x"]])
def test_explicit_first_frames_are_used(tmp_path, given):
    (tmp_path / "opt.txt").write_text(format_opt_file(tiny_options("--label_nc 5")))
    assert not load_run_options(tmp_path, "--gpu_ids", "-1", *given).use_real_img


def test_step_by_step_synthesis_ignores_key_frames(tmp_path):
    (tmp_path / "opt.txt").write_text(format_opt_file(tiny_options("--label_nc 5")))
    with pytest.raises(UserError, match="--keyframes 2"):
        load_synthesizer(load_run_options(tmp_path, "--gpu_ids", "-1", "--keyframes", "2"))
