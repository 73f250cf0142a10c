"""Convert the options to the configuration of each component."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from data.face import FaceFrameReader
from data.frame_reader import FrameReader
from data.inference_inputs import InputConfig
from data.pose import PoseFrameReader
from data.sampler import SamplerConfig
from data.street import StreetFrameReader
from data.transforms import TransformConfig
from models.flow import FlowConfig
from models.inference.first_frame import FirstFrameConfig, FirstFrameSource
from models.inference.instance_features import FeatureSampler, read_feature_sampler
from models.inference.synthesizer import SynthesisConfig
from models.losses.vid2vid import LossConfig
from models.networks.collection import OptimizerConfig
from models.networks.config import ModelConfig
from models.networks.discriminators import DiscriminatorConfig, TemporalConfig
from models.networks.generators import GeneratorConfig
from models.networks.input_encoding import ConditionConfig
from models.networks.label_predictor import LabelPredictorConfig
from models.networks.pix2pixhd import EncoderConfig, SingleImageConfig
from models.ops.compile import CompiledFrameGenerator
from models.training.forward import ForwardConfig
from models.training.schedule import ScheduleConfig
from models.training.trainer import TrainerConfig
from options.opt_file import load_teacher_options, make_resize_deterministic
from options.parsing import stringify_options
from options.schema import Options, TestOptions, TrainOptions
from options.validation import (
    is_auxiliary_training,
    is_label_prediction_training,
    is_single_image_training,
    uses_flow_blending,
    uses_instance_features,
)
from util.distributed import DeviceConfig


def run_folder(opt: Options) -> Path:
    """Return the folder of the run's checkpoints and logs."""
    return opt.checkpoints_dir / opt.name


def results_folder(opt: TestOptions) -> Path:
    """Return the folder of the generated images."""
    return opt.results_dir / opt.name / f"{opt.phase}_{opt.which_epoch}"


def device_config(opt: Options) -> DeviceConfig:
    """Return the devices, processes and precision of the run."""
    config = DeviceConfig(opt.gpu_ids, amp=amp_mode(opt), tf32=opt.tf32, cudnn=opt.cudnn)
    if not isinstance(opt, TrainOptions):
        # A process that has generated its sequences waits for the slowest one.
        return replace(config, timeout=timedelta(days=7))
    n_gpus_gen = -1 if is_auxiliary_training(opt) else opt.n_gpus_gen
    return replace(config, n_gpus_gen=n_gpus_gen, batch_size=opt.batchSize, sync_bn=opt.sync_bn)


def amp_mode(opt: Options) -> str:
    """Return the mixed precision mode: off, bf16 or fp16."""
    return "fp16" if opt.fp16 else opt.amp


# Data


def build_frame_reader(opt: Options) -> FrameReader:
    """Build the reader of --dataset_mode."""
    if opt.dataset_mode == "face":
        return FaceFrameReader(
            uses_canny=not opt.no_canny_edge,
            uses_distance_maps=not opt.no_dist_map,
            random_scale_points=opt.random_scale_points,
        )
    if opt.dataset_mode == "pose":
        return PoseFrameReader(
            uses_densepose=not opt.openpose_only,
            uses_openpose=not opt.densepose_only,
            uses_basic_points=opt.basic_point_only,
            remove_face_labels=opt.remove_face_labels,
            drop_prob=opt.random_drop_prob,
            person_selection=opt.pose_people,
        )
    return StreetFrameReader(
        label_nc=opt.label_nc,
        input_nc=opt.input_nc,
        use_instance=opt.use_instance and not is_label_prediction_training(opt),
        ignore_label=opt.ignore_label,
    )


def transform_config(opt: Options) -> TransformConfig:
    """Return the resize, crop and flip of the run's frames."""
    is_train = isinstance(opt, TrainOptions)
    return TransformConfig(
        load_size=opt.loadSize,
        fine_size=opt.fineSize,
        resize_or_crop=opt.resize_or_crop,
        uses_flip=is_train and not opt.no_flip and opt.dataset_mode != "pose",
    )


def inference_transform_config(opt: Options) -> TransformConfig:
    """Return the resize that test.py uses for a run that is trained with `opt`."""
    return replace(
        transform_config(opt),
        resize_or_crop=make_resize_deterministic(opt.resize_or_crop),
        uses_flip=False,
    )


def input_config(opt: TestOptions, uses_real_images: bool) -> InputConfig:
    """Return the sequences that test.py reads.

    Args:
        opt: The options.
        uses_real_images: Whether the source of the first frames needs the real images.
    """
    return InputConfig(
        dataroot=opt.dataroot,
        phase=opt.phase,
        input_source=opt.input,
        pipe_size=opt.input_size,
        uses_real_images=uses_real_images or opt.use_real_img,
        start_frame=opt.start_frame,
        max_frames=opt.how_many,
        should_loop=opt.loop_input and opt.input != "-" and opt.future_labels is None,
        max_sequences=opt.max_dataset_size,
        allow_links=opt.allow_symlinks,
    )


def validation_input_config(opt: TrainOptions) -> InputConfig:
    """Return the sequences that --eval_freq evaluates."""
    return InputConfig(
        dataroot=opt.dataroot,
        phase=opt.eval_phase,
        uses_real_images=not is_label_prediction_training(opt),
        allow_links=opt.allow_symlinks,
    )


def sampling_config(opt: TrainOptions, n_gpus_gen: int, world_size: int = 1) -> SamplerConfig:
    """Return how clips are sampled.

    Args:
        opt: The options.
        n_gpus_gen: The number of GPUs that share the frames of a window.
        world_size: The number of processes; each reads `batchSize` clips per step.
    """
    if is_single_image_training(opt):
        # Clips of one frame, one for each frame of the data set.
        return SamplerConfig(
            n_frames_G=1,
            batch_size=opt.batchSize * world_size,
            max_clips=opt.max_dataset_size,
            clips_per_epoch=opt.clips_per_epoch,
            serial_batches=opt.serial_batches,
            uses_every_start_frame=True,
            seed=opt.seed,
        )
    return SamplerConfig(
        n_frames_G=opt.n_frames_G,
        max_frames_per_gpu=opt.max_frames_per_gpu,
        n_gpus_gen=n_gpus_gen,
        max_t_step=opt.max_t_step,
        batch_size=opt.batchSize * world_size,
        max_clips=opt.max_dataset_size,
        clips_per_epoch=opt.clips_per_epoch,
        serial_batches=opt.serial_batches,
        uses_every_start_frame=opt.dataset_mode == "pose",
        seed=opt.seed,
    )


# Networks


def condition_config(opt: Options) -> ConditionConfig:
    """Return how the condition is encoded."""
    has_instance_edges = (
        opt.use_instance
        and opt.dataset_mode in ("temporal", "test")
        and not is_label_prediction_training(opt)
    )
    return ConditionConfig(opt.label_nc, instance_edges=has_instance_edges)


def generator_config(opt: Options) -> GeneratorConfig:
    """Return the architecture of the video generators."""
    return GeneratorConfig(
        condition_channels=(opt.label_nc or opt.input_nc) + condition_config(opt).instance_edges,
        image_channels=opt.output_nc,
        n_frames_G=opt.n_frames_G,
        width=opt.ngf,
        n_downsample=opt.n_downsample_G,
        n_blocks=opt.n_blocks,
        n_blocks_local=opt.n_blocks_local,
        n_scales=opt.n_scales_spatial,
        norm=opt.norm,
        flow=uses_flow_blending(opt),
        foreground=opt.fg_labels if opt.fg else (),
        n_features=opt.feat_num if uses_instance_features(opt) else 0,
        checkpoint_activations=isinstance(opt, TrainOptions) and opt.checkpoint_activations,
    )


def single_image_config(opt: Options) -> SingleImageConfig:
    """Return the architecture of the generator of --model single."""
    assert opt.netG != "composite", "see INVALID_COMBINATIONS"
    return SingleImageConfig(
        kind=opt.netG,
        condition_channels=generator_config(opt).condition_channels,
        n_features=opt.feat_num if uses_instance_features(opt) else 0,
        width=opt.ngf,
        n_downsample=opt.n_downsample_G,
        n_blocks=opt.n_blocks,
        n_blocks_local=opt.n_blocks_local,
        n_enhancers=opt.n_local_enhancers,
        norm=opt.norm,
    )


def label_prediction_config(opt: Options) -> LabelPredictorConfig:
    """Return the architecture of the network of --model future_labels."""
    return LabelPredictorConfig(
        label_nc=opt.label_nc,
        n_history=opt.n_frames_G - 1,
        width=opt.ngf,
        n_downsample=opt.n_downsample_G,
        n_blocks=opt.n_blocks,
        norm=opt.norm,
    )


def teacher_config(opt: TrainOptions) -> GeneratorConfig | None:
    """Return the architecture of the teacher in --distill_from; None without one."""
    teacher_options = load_teacher_options(opt)
    return None if teacher_options is None else generator_config(teacher_options)


def encoder_config(opt: Options) -> EncoderConfig | None:
    """Return the architecture of the instance feature encoder; None without features."""
    if not uses_instance_features(opt):
        return None
    return EncoderConfig(opt.feat_num, opt.nef, opt.n_downsample_E, opt.norm)


def discriminator_config(opt: TrainOptions) -> DiscriminatorConfig:
    """Return the architecture that all discriminators share."""
    return DiscriminatorConfig(
        width=opt.ndf,
        n_layers=opt.n_layers_D,
        n_scales=opt.num_D,
        norm=opt.norm,
        returns_features=not opt.no_ganFeat,
        spectral_norm=opt.spectral_norm,
    )


def size_multiple(opt: TrainOptions) -> int:
    """Return the number that image height and width must be divisible by, for all networks of the run."""
    if is_single_image_training(opt):
        generator_multiple = single_image_config(opt).size_multiple
    elif is_label_prediction_training(opt):
        generator_multiple = label_prediction_config(opt).size_multiple
    else:
        generator_multiple = generator_config(opt).size_multiple
    other_configs = (encoder_config(opt), teacher_config(opt))
    other_multiples = [config.size_multiple for config in other_configs if config is not None]
    # All multiples are powers of two, so that the largest one is divisible by the others.
    return max([generator_multiple, *other_multiples])


# Training


def schedule_config(opt: TrainOptions, max_sequence_length: int, n_gpus_gen: int) -> ScheduleConfig:
    """Return how clip lengths and learning rates change with the epochs.

    Args:
        opt: The options.
        max_sequence_length: The number of frames of the longest sequence.
        n_gpus_gen: The number of GPUs that share the frames of a window.
    """
    if is_single_image_training(opt):
        return ScheduleConfig(
            n_epochs=opt.niter,
            n_epochs_decay=opt.niter_decay,
            n_frames_G=1,
            n_frames_total=1,
            epochs_per_step=opt.niter + opt.niter_decay,
            max_frames_per_gpu=1,
            max_frames_backpropagate=1,
            n_epochs_freeze_coarse=0,
            n_scales=1,
            max_sequence_frames=1,
        )
    # A label predictor has one scale, whatever --n_scales_spatial says.
    has_one_scale = is_label_prediction_training(opt)
    return ScheduleConfig(
        n_epochs=opt.niter,
        n_epochs_decay=opt.niter_decay,
        n_frames_G=opt.n_frames_G,
        n_frames_total=opt.n_frames_total,
        epochs_per_step=opt.niter_step,
        max_frames_per_gpu=opt.max_frames_per_gpu,
        max_frames_backpropagate=opt.max_frames_backpropagate,
        n_epochs_freeze_coarse=0 if has_one_scale else opt.niter_fix_global,
        n_scales=1 if has_one_scale else opt.n_scales_spatial,
        max_sequence_frames=max_sequence_length,
        n_generator_gpus=n_gpus_gen,
    )


def temporal_config(opt: TrainOptions) -> TemporalConfig:
    """Return the frame groups of the temporal discriminators."""
    return TemporalConfig(
        opt.n_frames_D,
        n_scales=0 if is_auxiliary_training(opt) else opt.n_scales_temporal,
        is_sparse=opt.sparse_D,
    )


def optimizer_config(opt: TrainOptions) -> OptimizerConfig:
    """Return the settings of Adam."""
    return OptimizerConfig(lr=opt.lr, beta1=opt.beta1, uses_ttur=opt.TTUR)


def loss_config(opt: TrainOptions) -> LossConfig:
    """Return the losses and their weights."""
    return LossConfig(
        gan_mode=opt.gan_mode,
        n_layers=opt.n_layers_D,
        num_D=opt.num_D,
        n_scales=opt.n_scales_spatial,
        has_flow=uses_flow_blending(opt),
        uses_weight_penalty=opt.no_first_img,
        lambda_feat=opt.lambda_feat,
        lambda_flow=opt.lambda_F,
        lambda_warp=opt.lambda_T,
        face_crop_size=opt.fineSize // 32 * 8,  # as published
        uses_openpose_face=opt.openpose_only,
        should_score_raw=not is_single_image_training(opt),
        lambda_r1=opt.r1,
        lambda_distill=opt.lambda_distill,
    )


def flow_config(opt: TrainOptions) -> FlowConfig:
    """Return the estimator of the reference flow."""
    return FlowConfig(
        "none" if is_auxiliary_training(opt) else opt.flow_net,
        opt.flownet2_checkpoint,
        opt.raft_weights,
    )


def trainer_config(
    opt: TrainOptions, schedule: ScheduleConfig, steps_per_epoch: int
) -> TrainerConfig:
    """Return the configuration of the trainer.

    Args:
        opt: The options.
        schedule: The schedule of the run, see schedule_config.
        steps_per_epoch: The number of batches per epoch.
    """
    return TrainerConfig(
        schedule=schedule,
        steps_per_epoch=steps_per_epoch,
        size_multiple=size_multiple(opt),
        folder=run_folder(opt),
        options=stringify_options(opt),
        ema_half_life=None if is_auxiliary_training(opt) else opt.ema,
    )


def forward_config(opt: TrainOptions) -> ForwardConfig:
    """Return the configuration of the forward pass of a window."""
    return ForwardConfig(
        conditions=condition_config(opt),
        temporal=temporal_config(opt),
        n_frames_G=opt.n_frames_G,
        n_scales=opt.n_scales_spatial,
        no_first_img=opt.no_first_img,
    )


# Inference


def first_frame_config(opt: TestOptions) -> FirstFrameConfig:
    """Return the source of the first frames."""
    return FirstFrameConfig(
        _select_first_frame_source(opt),
        opt.single_G or published_single_image_path(opt),
        opt.label_nc,
        is_face=opt.dataset_mode == "face",
        seed=opt.seed,
    )


def _select_first_frame_source(opt: TestOptions) -> FirstFrameSource:
    if opt.no_first_img:
        return "zeros"
    return "real" if opt.use_real_img else "single"


def published_single_image_path(opt: Options) -> Path:
    """Return the path of the published single-image network for the run's data set."""
    # As published, City in --dataroot selects the street network.
    if "City" in str(opt.dataroot):
        return opt.checkpoints_dir / "label2city_single" / f"latest_net_G_{opt.loadSize}.pth"
    return opt.checkpoints_dir / "edge2face_single"


def load_feature_sampler(opt: Options) -> FeatureSampler | None:
    """Load the sampler of instance features from the run folder; None without features."""
    if not uses_instance_features(opt):
        return None
    return read_feature_sampler(run_folder(opt), opt.feat_num, opt.load_features, opt.seed)


def model_config(opt: Options) -> ModelConfig:
    """Return what inference must know about a run's networks."""
    return ModelConfig(
        replace(generator_config(opt), checkpoint_activations=False),
        condition_config(opt),
        no_first_img=opt.no_first_img,
        is_face=opt.dataset_mode == "face",
    )


def synthesis_config(opt: Options) -> SynthesisConfig:
    """Return the configuration of inference, in test.py or in the validation of train.py."""
    config = SynthesisConfig.from_model_config(
        model_config(opt), load_feature_sampler(opt), amp_mode(opt)
    )
    if isinstance(opt, TestOptions) and opt.compile:
        return replace(config, generate_frame=CompiledFrameGenerator())
    return config
