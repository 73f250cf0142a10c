"""The command line: every published flag with its default, the refused combinations, and opt.txt."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from options import configs
from options.ignored_flags import IGNORED_FLAGS, list_ignored_flags
from options.parsing import OptionParser, format_opt_file, format_options_table
from options.schema import Options, TestOptions, TrainOptions
from options.test import build_test_parser, parse_test
from options.train import build_train_parser, parse_train
from options.validation import INVALID_COMBINATIONS
from util.errors import UserError

OFF = False
BOTH = {
    "dataroot": Path("datasets/Cityscapes/"),
    "batchSize": 1,
    "loadSize": 512,
    "fineSize": 512,
    "input_nc": 3,
    "label_nc": 0,
    "output_nc": 3,
    "netG": "composite",
    "ngf": 128,
    "ndf": 64,
    "n_blocks": 9,
    "n_downsample_G": 3,
    "gpu_ids": None,
    "n_gpus_gen": -1,
    "name": "experiment_name",
    "dataset_mode": "temporal",
    "model": "vid2vid",
    "nThreads": 2,
    "checkpoints_dir": Path("./checkpoints"),
    "norm": "batch",
    "serial_batches": OFF,
    "display_winsize": 512,
    "tf_log": OFF,
    "max_dataset_size": inf,
    "resize_or_crop": "scaleWidth",
    "no_flip": OFF,
    "use_instance": OFF,
    "label_feat": OFF,
    "feat_num": 3,
    "nef": 32,
    "load_features": OFF,
    "netE": "simple",
    "n_downsample_E": 3,
    "n_blocks_local": 3,
    "n_local_enhancers": 1,
    "n_frames_G": 3,
    "n_scales_spatial": 1,
    "no_first_img": OFF,
    "use_single_G": OFF,
    "fg": OFF,
    "fg_labels": (26,),
    "no_flow": OFF,
    "no_canny_edge": OFF,
    "no_dist_map": OFF,
    "random_scale_points": OFF,
    "densepose_only": OFF,
    "openpose_only": OFF,
    "add_face_disc": OFF,
    "remove_face_labels": OFF,
    "random_drop_prob": 0.2,
    "basic_point_only": OFF,
    "load_pretrain": None,
    "debug": OFF,
    "fp16": OFF,
    "display_id": 0,
    "local_rank": 0,
}
TRAIN = {
    "display_freq": 100,
    "print_freq": 100,
    "save_latest_freq": 1000,
    "save_epoch_freq": 1,
    "continue_train": OFF,
    "phase": "train",
    "which_epoch": "latest",
    "niter": 10,
    "niter_decay": 10,
    "beta1": 0.5,
    "lr": 0.0002,
    "TTUR": OFF,
    "gan_mode": "ls",
    "pool_size": 1,
    "no_html": OFF,
    "num_D": 2,
    "n_layers_D": 3,
    "no_vgg": OFF,
    "no_ganFeat": OFF,
    "lambda_feat": 10,
    "sparse_D": OFF,
    "lambda_T": 10,
    "lambda_F": 10,
    "n_frames_D": 3,
    "n_scales_temporal": 3,
    "max_frames_per_gpu": 1,
    "max_frames_backpropagate": 1,
    "max_t_step": 1,
    "n_frames_total": 30,
    "niter_step": 5,
    "niter_fix_global": 0,
    "flow_net": "auto",
    "vgg_weights": None,
    "flownet2_checkpoint": Path("models/flownet2_pytorch/FlowNet2_checkpoint.pth.tar"),
}
TEST = {
    "results_dir": Path("./results/"),
    "phase": "test",
    "which_epoch": "latest",
    "how_many": 300,
    "use_real_img": OFF,
    "start_frame": 0,
    "aspect_ratio": 1.0,
    "ntest": inf,
}
FIRST_FRAMES = ["--use_real_img"]  # test.py needs a source of the first frames


def build_parser(program: str) -> OptionParser:
    return build_train_parser() if program == "train" else build_test_parser()


def parse(program: str, flags: list[str]) -> Options:
    return parse_train(flags) if program == "train" else parse_test([*flags, *FIRST_FRAMES])


@pytest.mark.parametrize(
    ("program", "flag", "default"),
    [
        *(("train", *item) for item in {**BOTH, **TRAIN}.items()),
        *(("test", *item) for item in {**BOTH, **TEST}.items()),
    ],
)
def test_every_flag_exists_with_its_default(program: str, flag: str, default: object) -> None:
    parser = build_parser(program)
    spellings = {spelling for action in parser._actions for spelling in action.option_strings}
    assert f"--{flag}" in spellings
    assert parser.get_default(flag) == default


@pytest.mark.parametrize("program", ["train", "test"])
def test_every_flag_has_a_help_text(program: str) -> None:
    parser = build_parser(program)
    assert len(parser.format_help()) > 3000
    assert [action.dest for action in parser._actions if not action.help] == []


@pytest.mark.parametrize(
    ("program", "old", "new", "value"),
    [
        ("train", "--keep 3", "keep_last_epochs", 3),
        ("train", "--people largest", "pose_people", "largest"),
        ("test", "--loop", "loop_input", True),
        ("test", "--allow_links", "allow_symlinks", True),
    ],
)
def test_old_spellings_are_accepted(program: str, old: str, new: str, value: object) -> None:
    assert getattr(parse(program, old.split()), new) == value


@pytest.mark.parametrize(
    ("flag", "text", "value"),
    [
        ("fg_labels", "24,26", (24, 26)),
        ("max_dataset_size", "7", 7),
        ("max_dataset_size", "inf", inf),
        ("load_pretrain", "checkpoints/x", Path("checkpoints/x")),
        ("lr", "5e-5", 5e-5),
    ],
)
def test_accepted_value_spellings(flag: str, text: str, value: object) -> None:
    assert getattr(parse_train([f"--{flag}", text, "--label_nc", "35"]), flag) == value


@pytest.mark.parametrize(
    "flags",
    [
        ["--loadS", "128"],
        ["--nonsense", "1"],
        ["--niter", "ten"],
        ["--norm", "layer"],
        ["--dataset_mode", "video"],
        ["--max_dataset_size", "few"],
        ["--gan_mode", "wgan"],
        ["--fg_labels", "car"],
        ["--ngf"],
    ],
)
def test_abbreviations_and_unknown_values_are_refused_in_one_line(flags: list[str]) -> None:
    with pytest.raises(UserError) as error:
        parse_train(flags)
    assert flags[0] in str(error.value) and "\n" not in str(error.value)


# program, flags, what the error message must name
REFUSED = [
    ("train", "--output_nc 1", ["--output_nc 1"]),
    ("train", "--netG global", ["--netG global", "composite"]),
    ("train", "--model single", ["--model single", "--netG global"]),
    (
        "train",
        "--model single --netG local_with_features",
        ["--netG", "_with_features", "--label_nc"],
    ),
    (
        "train",
        "--dataset_mode pose --input_nc 6 --label_feat",
        ["--label_feat", "--label_nc", "--dataset_mode face"],
    ),
    ("train", "--label_nc 9 --label_feat --eval_freq 10", ["--eval_freq", "--label_feat"]),
    ("train", "--feat_num 0", ["--feat_num 0", "at least 1"]),
    (
        "test",
        "--model single --netG global --no_first_img",
        ["--model single", "train.py", "--single_G"],
    ),
    (
        "test",
        "--model future_labels --label_nc 9 --no_first_img",
        ["--model future_labels", "--future_labels"],
    ),
    ("train", "--model future_labels", ["--model future_labels", "--label_nc"]),
    (
        "train",
        "--model future_labels --dataset_mode face --input_nc 15",
        ["--model future_labels", "--label_nc"],
    ),
    ("test", "--no_first_img --future_labels x", ["--future_labels", "--label_nc 0"]),
    (
        "test",
        "--no_first_img --label_nc 9 --future_frames 3",
        ["--future_frames 3", "--future_labels DIR"],
    ),
    (
        "test",
        "--no_first_img --label_nc 9 --future_labels x --input - --input_size 8x8",
        ["--future_labels", "--input -"],
    ),
    ("train", "--label_nc 9 --label_feat --distill_from x", ["--distill_from", "--label_feat"]),
    (
        "train",
        "--dataset_mode face --input_nc 15 --label_nc 3",
        ["--label_nc 3", "--dataset_mode face"],
    ),
    (
        "train",
        "--dataset_mode pose --input_nc 3 --densepose_only --openpose_only",
        ["--densepose_only", "--openpose_only"],
    ),
    ("train", "--dataset_mode face", ["--input_nc 3", "--input_nc 15", "--no_dist_map"]),
    (
        "train",
        "--dataset_mode face --no_dist_map --input_nc 15",
        ["--input_nc 15", "1 with --no_dist_map"],
    ),
    (
        "train",
        "--dataset_mode pose --input_nc 6 --openpose_only",
        ["--input_nc 6", "--openpose_only"],
    ),
    ("train", "--dataset_mode pose --input_nc 3", ["--input_nc 3", "6 for poses"]),
    ("train", "--input_nc 2", ["--input_nc 2", "--label_nc"]),
    ("train", "--fg", ["--fg", "--label_nc"]),
    ("train", "--label_nc 20 --fg", ["--fg_labels 26", "--label_nc 20"]),
    ("train", "--label_nc 20 --fg --fg_labels 3,-1", ["--fg_labels 3,-1"]),
    ("train", "--ngf 6 --n_scales_spatial 3", ["--ngf 6", "--n_scales_spatial 3"]),
    ("train", "--ngf 4 --n_scales_spatial 3 --label_nc 35 --fg", ["--ngf 4", "--fg"]),
    ("train", "--add_face_disc", ["--add_face_disc", "--dataset_mode pose", "temporal"]),
    ("train", "--lr 2", ["--lr 2.0", "at most 1"]),
    ("train", "--name ../elsewhere", ["--name ../elsewhere", "--checkpoints_dir"]),
    ("train", "--label_nc 35 --ignore_label 7", ["--ignore_label 7", "--label_nc 35"]),
    ("train", "--label_nc 256 --ignore_label 256", ["--ignore_label", "--label_nc 256"]),
    ("test", "", ["--use_real_img", "--no_first_img", "--use_single_G"]),
    ("test", "--use_single_G", ["--use_single_G", "--label_nc 35", "--single_G"]),
    (
        "test",
        "--use_single_G --label_nc 35 --loadSize 896",
        ["--use_single_G", "1024", "896", "--single_G"],
    ),
    (
        "test",
        "--use_single_G --dataroot datasets/bikes",
        ["--use_single_G", "datasets/bikes", "--single_G"],
    ),
    (
        "test",
        "--use_single_G --dataroot datasets/face --input_nc 1",
        ["--use_single_G", "--dataset_mode face"],
    ),
    ("train", "--niter 0 --niter_decay 0", ["--niter 0", "--niter_decay 0"]),
    (
        "train",
        "--continue_train --which_epoch 3",
        ["--continue_train", "--which_epoch 3", "--load_pretrain"],
    ),
    ("train", "--n_gpus_gen 2", ["--n_gpus_gen 2", "--gpu_ids"]),
    ("train", "--gpu_ids 0,1 --n_gpus_gen 3", ["--n_gpus_gen 3", "--gpu_ids 0,1"]),
    ("train", "--fp16 --amp bf16", ["--fp16", "--amp bf16"]),
    ("train", "--sync_bn --norm instance", ["--sync_bn", "--norm instance"]),
    ("train", "--compile --sync_bn", ["--compile", "--sync_bn"]),
    ("train", "--compile --checkpoint_activations", ["--compile", "--checkpoint_activations"]),
    ("train", "--n_gpus_gen 0", ["--n_gpus_gen 0"]),
    ("test", "--name /elsewhere --no_first_img", ["--name /elsewhere"]),
    ("train", "--batchSize 0", ["--batchSize 0", "at least 1"]),
    ("train", "--random_drop_prob 1.5", ["--random_drop_prob 1.5", "at most 1"]),
    ("train", "--n_frames_G 1", ["--n_frames_G 1", "at least 2"]),
    ("train", "--max_dataset_size 0", ["--max_dataset_size 0", "at least 1"]),
    ("test", "--how_many 0 --use_real_img", ["--how_many 0", "at least 1"]),
    ("test", "--start_frame -1 --use_real_img", ["--start_frame -1"]),
    ("test", "--use_real_img --input -", ["--input -", "--input_size"]),
    ("test", "--use_real_img --output film.avi", ["--output film.avi", ".mp4"]),
    ("test", "--use_real_img --batch_sequences 0", ["--batch_sequences 0", "at least 1"]),
    (
        "test",
        "--use_real_img --batch_sequences 2 --output all.mp4",
        ["--batch_sequences 2", "--output all.mp4"],
    ),
    (
        "test",
        "--use_real_img --label_nc 35 --label_map_edit 11=35",
        ["--label_map_edit", "--label_nc 35"],
    ),
    ("test", "--use_real_img --label_map_edit 11=21", ["--label_map_edit", "--label_nc 0"]),
]


@pytest.mark.parametrize(("program", "flags", "named"), REFUSED, ids=lambda value: str(value)[:50])
def test_invalid_combination_is_refused_in_one_line_naming_the_flags(
    program: str, flags: str, named: list[str]
) -> None:
    with pytest.raises(UserError) as error:
        (parse_train if program == "train" else parse_test)(flags.split())
    assert all(name in str(error.value) for name in named) and "\n" not in str(error.value)
    assert "{" not in str(error.value) and "None" not in str(error.value)


def test_every_invalid_combination_has_a_test() -> None:
    tested: list[Options] = []
    for program, flags, _ in REFUSED:
        options_class = TrainOptions if program == "train" else TestOptions
        tested.append(options_class(**vars(build_parser(program).parse_args(flags.split()))))
    untested = [
        combination.message
        for combination in INVALID_COMBINATIONS
        if not any(combination.is_invalid(options) for options in tested)
    ]
    assert untested == []


@pytest.mark.parametrize("flag", ["lr", "lambda_feat", "random_drop_prob", "beta1"])
@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_non_finite_numbers_are_refused(flag: str, value: str) -> None:
    with pytest.raises(UserError, match=f"--{flag} {value}"):
        parse_train([f"--{flag}", value])


# program, flags, the flag that is reported as ignored
IGNORED = [
    ("train", "--load_features", "load_features"),
    ("test", "--use_real_img --gpu_ids 0,1 --n_gpus_gen 1", "n_gpus_gen"),
    ("train", "--gpu_ids cpu,cpu --n_gpus_gen 1 --batchSize 2", "n_gpus_gen"),
    *(
        ("train", f"--{flag} 7", flag)
        for flag in (
            "pool_size",
            "display_id",
            "local_rank",
            "feat_num",
            "nef",
            "n_downsample_E",
            "n_local_enhancers",
        )
    ),
    *(
        ("test", f"--label_nc 9 --label_feat --{flag} 7", flag)
        for flag in ("nef", "n_downsample_E")
    ),
    ("test", "--load_features", "load_features"),
    ("train", "--label_nc 9 --label_feat --load_features", "load_features"),
    ("train", "--model single --netG global --label_feat --label_nc 9", "label_feat"),
    *(
        ("train", f"--model single --netG global --{flag}", flag.split()[0])
        for flag in (
            "n_frames_G 2",
            "n_frames_total 6",
            "n_frames_D 2",
            "n_scales_temporal 1",
            "n_scales_spatial 2",
            "max_frames_per_gpu 2",
            "max_frames_backpropagate 2",
            "max_t_step 2",
            "niter_step 2",
            "lambda_T 1",
            "lambda_F 1",
            "no_flow",
            "no_first_img",
            "fg --label_nc 35",
            "sparse_D",
            "flow_net dis",
            "flow_cache x",
            "eval_freq 9",
            "add_face_disc --dataset_mode pose --input_nc 6",
            "n_gpus_gen 1",
            "ema 9",
            "checkpoint_activations",
        )
    ),
    *(
        ("train", f"--model future_labels --label_nc 9 --{flag}", flag.split()[0])
        for flag in (
            "use_instance",
            "label_feat",
            "no_first_img",
            "n_scales_spatial 2",
            "niter_fix_global 2",
            "no_flow",
            "fg --fg_labels 3",
            "ndf 8",
            "num_D 1",
            "n_layers_D 2",
            "n_frames_D 2",
            "n_scales_temporal 1",
            "sparse_D",
            "gan_mode hinge",
            "no_ganFeat",
            "lambda_feat 1",
            "lambda_F 1",
            "no_vgg",
            "vgg_weights x",
            "flow_net dis",
            "flow_cache x",
            "n_gpus_gen 1",
            "ema 9",
            "checkpoint_activations",
            "r1 1",
            "spectral_norm",
        )
    ),
    ("test", "--label_nc 9 --future_labels x --loop_input", "loop_input"),
    ("train", "--model future_labels --label_nc 9 --distill_from x", "distill_from"),
    ("train", "--lambda_distill 5", "lambda_distill"),
    ("train", "--single_G x", "single_G"),
    ("test", "--no_first_img --single_G x", "single_G"),
    ("test", "--aspect_ratio 2", "aspect_ratio"),
    ("test", "--ntest 3", "ntest"),
    ("train", "--label_nc 35 --input_nc 5", "input_nc"),
    ("train", "--ignore_label 255", "ignore_label"),
    ("train", "--allow_partial", "allow_partial"),
    ("train", "--dataset_mode face --input_nc 15 --use_instance", "use_instance"),
    ("train", "--no_canny_edge", "no_canny_edge"),
    ("train", "--no_dist_map", "no_dist_map"),
    ("train", "--random_scale_points", "random_scale_points"),
    ("train", "--dataset_mode face --input_nc 15 --random_scale_points", "random_scale_points"),
    *(
        ("train", f"--{flag}", flag)
        for flag in ("densepose_only", "remove_face_labels", "basic_point_only", "openpose_only")
    ),
    ("train", "--random_drop_prob 0.5", "random_drop_prob"),
    ("train", "--pose_people largest", "pose_people"),
    ("train", "--use_single_G", "use_single_G"),
    ("test", "--use_single_G", "use_single_G"),
    ("test", "--no_first_img", "use_real_img"),
    ("train", "--fg_labels 3", "fg_labels"),
    ("train", "--niter_fix_global 3", "niter_fix_global"),
    ("train", "--n_blocks_local 5", "n_blocks_local"),
    ("train", "--no_vgg --vgg_weights x", "vgg_weights"),
    ("train", "--continue_train --load_pretrain x", "load_pretrain"),
    ("test", "--load_pretrain x", "load_pretrain"),
    ("train", "--eval_frames 3", "eval_frames"),
    ("train", "--eval_phase x", "eval_phase"),
    ("test", "--input_size 8x8", "input_size"),
    ("test", "--side_by_side", "side_by_side"),
    ("test", "--input x.mp4 --output y.mp4 --batch_sequences 2", "batch_sequences"),
    ("test", "--keyframes 2 --batch_sequences 2", "batch_sequences"),
    ("test", "--input - --input_size 8x8 --loop_input", "loop_input"),
    ("test", "--input x.mp4 --phase x", "phase"),
    ("test", "--ndf 32", "ndf"),
    ("train", "--n_scales_temporal 0 --sparse_D", "sparse_D"),
    ("train", "--compile --debug_replay x", "compile"),
]


@pytest.mark.parametrize(("program", "flags", "flag"), IGNORED)
def test_ignored_flags_are_reported_in_one_line(program: str, flags: str, flag: str) -> None:
    ignored = list_ignored_flags(parse(program, flags.split()), build_parser(program))
    lines = [line for line in ignored if line.startswith(f"--{flag} is not used: ")]
    assert len(lines) == 1
    assert "\n" not in lines[0]


def test_every_ignored_flag_rule_has_a_test() -> None:
    flags = {flag for rule in IGNORED_FLAGS for flag in rule.flags}
    assert flags <= {flag for _, _, flag in IGNORED}


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "--label_nc 35 --use_instance --fg",
        "--no_vgg --sparse_D --TTUR",
        "--label_nc 9 --label_feat --feat_num 2 --nef 8",
        "--model future_labels --label_nc 9 --n_frames_G 5 --lambda_T 1 --max_t_step 2 --eval_freq 5 --eval_frames 9",
        "--model single --netG local --n_local_enhancers 2 --n_blocks_local 2",
        "--model single --netG global_with_features --label_nc 9 --feat_num 2 --nef 8 --n_downsample_E 2",
    ],
)
def test_no_message_if_every_flag_is_used(flags: str) -> None:
    assert list_ignored_flags(parse_train(flags.split()), build_train_parser()) == []


def test_openpose_only_implies_no_flow() -> None:
    options = parse_train(["--dataset_mode", "pose", "--input_nc", "3", "--openpose_only"])
    assert (
        "--openpose_only implies --no_flow" in list_ignored_flags(options, build_train_parser())[0]
    )
    assert not configs.generator_config(options).flow


def test_opt_txt_round_trips() -> None:
    flags = "--label_nc 35 --fg --fg_labels 24,26 --lr 0.0001 --dataroot a:/b"
    options = parse_train(flags.split())
    rows = [line.partition(": ") for line in format_opt_file(options).splitlines()]
    saved = {flag: text for flag, _, text in rows}
    assert list(saved) == sorted(vars(options))
    assert saved["fg_labels"] == "24,26"
    assert saved["lr"] == "0.0001"
    assert saved["dataroot"] == "a:/b"
    assert saved["fg"] == "True"
    arguments = [f"--{flag}" for flag, text in saved.items() if text == "True"]
    for flag, text in saved.items():
        if text not in ("True", "False", "None") and flag in BOTH | TRAIN:
            arguments += [f"--{flag}", text]
    assert parse_train(arguments) == options != parse_train([])


def test_printed_options_mark_non_default_values() -> None:
    lines = format_options_table(
        parse_train(["--ngf", "64", "--fg_labels", "3,4"]), build_train_parser()
    ).splitlines()
    assert [line.strip() for line in lines if "[default" in line] == [
        "fg_labels: 3,4   [default: 26]",
        "ngf: 64   [default: 128]",
    ]


def test_run_and_results_folders() -> None:
    train_options = parse_train(["--name", "x"])
    test_options = parse_test([*FIRST_FRAMES, "--name", "x", "--which_epoch", "7"])
    assert configs.run_folder(train_options) == Path("checkpoints/x")
    assert configs.results_folder(test_options) == Path("results/x/test_7")


@pytest.mark.parametrize(
    ("flags", "frames"),
    [
        ("", 300),
        ("--input a.mp4", float("inf")),
        ("--input - --input_size 8x8", float("inf")),
        ("--input a.mp4 --how_many 9", 9),
        ("--input a.mp4 --loop_input", 300),
        ("--how_many inf", float("inf")),
        ("--input - --input_size 8x8 --loop_input", float("inf")),
    ],
)
def test_how_many_defaults_to_the_whole_video(flags: str, frames: float) -> None:
    assert parse_test([*FIRST_FRAMES, *flags.split()]).how_many == frames


def test_validation_clips_have_the_test_size() -> None:
    options = parse_train(
        ["--resize_or_crop", "randomScaleHeight_and_scaledCrop", "--loadSize", "640"]
    )
    config = configs.inference_transform_config(options)
    assert config.resize_or_crop == "scaleheight"
    assert config.load_size == 640
    assert not config.uses_flip
