"""The options of train.py and test.py as frozen dataclasses, one field per flag.

`tests/options/test_schema.py` keeps the fields equal to the flags of the parsers in `options.base`,
`options.train` and `options.test`, which document them and hold the defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypeVar


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options that train.py and test.py share."""

    # run
    name: str
    checkpoints_dir: Path
    model: Literal["vid2vid", "single", "future_labels"]
    seed: int
    debug: bool
    display_winsize: int
    tf_log: bool
    display_id: int
    local_rank: int

    # devices and precision
    gpu_ids: str | None
    n_gpus_gen: int
    amp: Literal["off", "bf16", "fp16"]
    fp16: bool
    tf32: Literal["on", "off"]
    cudnn: Literal["heuristic", "benchmark", "deterministic"]

    # data
    dataroot: Path
    dataset_mode: Literal["temporal", "face", "pose", "test"]
    batchSize: int
    nThreads: int
    serial_batches: bool
    max_dataset_size: float
    label_nc: int
    allow_symlinks: bool
    ignore_label: int | None
    input_nc: int
    output_nc: int
    use_instance: bool
    resize_or_crop: str
    loadSize: int
    fineSize: int
    no_flip: bool

    # faces
    no_canny_edge: bool
    no_dist_map: bool
    random_scale_points: bool

    # poses
    densepose_only: bool
    openpose_only: bool
    add_face_disc: bool
    remove_face_labels: bool
    random_drop_prob: float
    basic_point_only: bool
    pose_people: Literal["all", "largest"]

    # generator
    netG: Literal["composite", "global", "local", "global_with_features", "local_with_features"]
    ngf: int
    ndf: int
    n_blocks: int
    n_downsample_G: int
    n_scales_spatial: int
    n_blocks_local: int
    n_local_enhancers: int
    norm: Literal["batch", "instance"]
    n_frames_G: int
    no_flow: bool
    fg: bool
    fg_labels: tuple[int, ...]
    load_pretrain: Path | None
    allow_partial: bool

    # first frames
    no_first_img: bool
    use_single_G: bool
    single_G: Path | None

    # instance features
    label_feat: bool
    feat_num: int
    nef: int
    load_features: bool
    netE: Literal["simple"]
    n_downsample_E: int

    # logging, checkpoints and validation
    phase: str
    which_epoch: str

    # speed
    compile: bool


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Options):
    """The options of train.py."""

    # logging, checkpoints and validation
    display_freq: int
    print_freq: int
    save_latest_freq: int
    save_epoch_freq: int
    keep_last_epochs: int | None
    eval_freq: int
    eval_phase: str
    eval_frames: int
    no_html: bool
    continue_train: bool
    debug_replay: Path | None

    # schedule and optimizer
    niter: int
    niter_decay: int
    niter_step: int
    niter_fix_global: int
    lr: float
    beta1: float
    TTUR: bool

    # clips
    n_frames_total: int
    max_frames_per_gpu: int
    max_frames_backpropagate: int
    max_t_step: int
    clips_per_epoch: int | None

    # discriminators
    num_D: int
    n_layers_D: int
    n_frames_D: int
    n_scales_temporal: int
    sparse_D: bool
    pool_size: int

    # losses
    gan_mode: Literal["ls", "original", "hinge"]
    lambda_feat: float
    lambda_F: float
    lambda_T: float
    no_ganFeat: bool
    no_vgg: bool
    vgg_weights: Path | None

    # distillation
    distill_from: Path | None
    lambda_distill: float

    # reference flow
    flow_net: Literal["auto", "flownet2", "raft", "dis", "none"]
    flownet2_checkpoint: Path
    raft_weights: Path | None
    flow_cache: Path | None

    # stability
    ema: float | None
    grad_clip: float | None
    r1: float
    spectral_norm: bool

    # memory and multiple processes
    checkpoint_activations: bool
    sync_bn: bool
    dry_run: bool


@dataclass(frozen=True, kw_only=True)
class TestOptions(Options):
    """The options of test.py."""

    __test__: ClassVar[bool] = False  # this class is not a test case for pytest

    # inference
    results_dir: Path
    how_many: float
    start_frame: int
    use_real_img: bool
    use_ema: bool
    keyframes: int
    batch_sequences: int
    fps: float | None
    aspect_ratio: float
    ntest: float

    # label prediction
    future_labels: Path | None
    future_frames: int | None

    # video input and output
    input: str | None
    input_size: tuple[int, int] | None
    output: str | None
    side_by_side: bool
    label_map_edit: tuple[tuple[int, int], ...]
    loop_input: bool


OptionsT = TypeVar("OptionsT", bound=Options)


def format_option_value(value: object) -> str:
    """Return an option's value as text: as on the command line, except for None, True and False."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
