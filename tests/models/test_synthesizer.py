import doctest
import gc

import pytest
import torch

from models import first_frame, synthesizer
from models.compiled import CompiledStep
from models.synthesis import synthesise
from models.synthesizer import Synthesizer
from options import configs
from options.loading import load_synthesizer, run_options
from options.parsing import listing
from tests.tiny import saved, street_clip, tiny_networks, tiny_options
from util.errors import UserError

CPU = torch.device("cpu")


def test_the_docstring_tells_the_truth(tmp_path):
    saved(tmp_path / "run", "--input_nc 1 --no_first_img")
    found = doctest.testmod(synthesizer, extraglobs={"checkpoint": tmp_path / "run"})
    assert found.attempted >= 6 and found.failed == 0


def test_steps_are_compiled_on_request_alone(tmp_path):
    saved(tmp_path / "run", "--input_nc 1 --no_first_img")
    plain, compiled = (Synthesizer.from_checkpoint(tmp_path / "run", compiled=choice) for choice in (False, True))
    assert not isinstance(plain.config.step, CompiledStep) and compiled.config.step == CompiledStep()


@pytest.mark.parametrize("flags", ["", "--no_first_img"])
def test_steps_are_the_frames_of_synthesis_and_begin_anew_after_a_reset(flags):
    options = tiny_options(f"--label_nc 5 --use_instance {flags}")
    networks, clip = tiny_networks(options).generator, street_clip(6, 20, 28)
    first = first_frame.zeros if flags else first_frame.real_pictures
    frames = [clip.frames(t, t + 1) for t in range(6)]
    expected = [made for _, made in synthesise(networks, frames, first, configs.synthesis(options), CPU)]
    painter = Synthesizer(networks, configs.synthesis(options), first)
    for _ in range(2):
        stepped = [painter.step(f.condition[:, 0], f.picture[:, 0], f.instance[:, 0]) for f in frames]
        assert stepped[:2] == [None, None]
        for one, other in zip(stepped[2:], expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
        painter.reset()


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_streams_side_by_side_are_what_each_would_be_alone(norm):
    options = tiny_options(f"--label_nc 5 --no_first_img --norm {norm}")
    networks, clip = tiny_networks(options).generator, street_clip(5, 16, 24, batch=2)
    both, alone = (Synthesizer(networks, configs.synthesis(options)) for _ in range(2))
    for t in range(5):
        condition = clip.condition[:, t]
        together, single = both.step(condition), alone.step(condition[1:])
        if together is not None:
            torch.testing.assert_close(together[1:], single, rtol=1e-4, atol=1e-5)


def test_nothing_is_kept_of_past_frames():
    options = tiny_options("--label_nc 5 --no_first_img")
    painter = Synthesizer(tiny_networks(options).generator, configs.synthesis(options))

    def tensors_after(steps: int) -> int:
        for _ in range(steps):
            painter.step(street_clip(1, 16, 24).condition[:, 0])
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    tensors_after(5)
    assert tensors_after(5) == tensors_after(10)


@pytest.mark.parametrize("flags", ["--no_first_img --n_frames_G 2", "--use_instance --fg --fg_labels 1,3",
                                   "--n_scales_spatial 2 --norm instance --checkpoint_activations"])
def test_a_run_is_loaded_by_its_folder_alone(flags, tmp_path):
    options, networks = saved(tmp_path / "run", f"--label_nc 5 {flags}")
    clip = street_clip(4, 16, 24)
    first = first_frame.zeros if "--no_first_img" in flags else first_frame.real_pictures
    own = Synthesizer(networks, configs.synthesis(options), first)
    by_files = Synthesizer.from_checkpoint(tmp_path / "run")
    by_options = load_synthesizer(run_options(tmp_path / "run", "--gpu_ids", "-1"))
    assert by_files.config == by_options.config == own.config
    for t in range(4):
        made = [painter.step_clip(clip.frames(t, t + 1)) for painter in (own, by_files, by_options)]
    torch.testing.assert_close(made[1], made[0], rtol=0, atol=0)
    torch.testing.assert_close(made[2], made[0], rtol=0, atol=0)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"opt\.txt is not there"):
        run_options(tmp_path)
    with pytest.raises(UserError, match=r"networks\.json is not there.*load_synthesizer"):
        Synthesizer.from_checkpoint(tmp_path)
    (tmp_path / "networks.json").write_text('{"generator": {"width": 8}}')
    with pytest.raises(UserError, match=r"networks\.json does not describe networks.*foreground"):
        Synthesizer.from_checkpoint(tmp_path)


def test_real_first_pictures_are_asked_for_where_training_had_them(tmp_path):
    (tmp_path / "opt.txt").write_text(listing(tiny_options("--label_nc 5")))
    assert run_options(tmp_path, "--gpu_ids", "-1").use_real_img


@pytest.mark.parametrize("given", [["--single_G", "x"], ["--single_G=x"]])
def test_whoever_names_the_first_pictures_gets_them(tmp_path, given):
    (tmp_path / "opt.txt").write_text(listing(tiny_options("--label_nc 5")))
    assert not run_options(tmp_path, "--gpu_ids", "-1", *given).use_real_img


def test_frame_by_frame_there_are_no_key_frames(tmp_path):
    (tmp_path / "opt.txt").write_text(listing(tiny_options("--label_nc 5")))
    with pytest.raises(UserError, match="--keyframes 2"):
        load_synthesizer(run_options(tmp_path, "--gpu_ids", "-1", "--keyframes", "2"))
