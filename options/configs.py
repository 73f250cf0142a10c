"""From checked options to the frozen configuration that stands beside each component: all that it ever sees of them."""

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
from models.losses.temporal_groups import TemporalConfig
from models.losses.vid2vid import LossConfig
from models.networks.collection import OptimizerConfig
from models.networks.config import ModelConfig
from models.networks.discriminators import DiscriminatorConfig
from models.networks.generators import GeneratorConfig
from models.networks.input_encoding import ConditionConfig
from models.networks.label_predictor import LabelPredictorConfig
from models.networks.pix2pixhd import EncoderConfig, SingleImageConfig
from models.ops.compile import CompiledFrameGenerator
from models.training.schedule import ScheduleConfig
from models.training.trainer import TrainerConfig
from options.opt_file import load_teacher_options, make_resize_deterministic
from options.parsing import Options, stringify_options
from options.validation import (
    is_auxiliary_training,
    is_label_prediction_training,
    is_single_image_training,
    is_train,
    uses_flow_blending,
    uses_instance_features,
)
from util.distributed import DeviceConfig


def run_folder(opt: Options) -> Path:
    return opt.checkpoints_dir / opt.name


def results_folder(opt: Options) -> Path:
    return opt.results_dir / opt.name / f"{opt.phase}_{opt.which_epoch}"


def device_config(opt: Options) -> DeviceConfig:
    shared = DeviceConfig(opt.gpu_ids, amp=amp_mode(opt), tf32=opt.tf32, cudnn=opt.cudnn)
    if not is_train(opt):  # who has made its videos waits for whoever still makes one
        return replace(shared, timeout=timedelta(days=7))
    generators = -1 if is_auxiliary_training(opt) else opt.n_gpus_gen
    return replace(shared, n_gpus_gen=generators, batch_size=opt.batchSize, sync_bn=opt.sync_bn)


def amp_mode(opt: Options) -> str:
    return "fp16" if opt.fp16 else opt.amp


def build_frame_reader(opt: Options) -> FrameReader:
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
            person_selection=opt.people,
        )
    return StreetFrameReader(
        label_nc=opt.label_nc,
        input_nc=opt.input_nc,
        use_instance=opt.use_instance and not is_label_prediction_training(opt),
        ignore_label=opt.ignore_label,
    )


def transform_config(opt: Options) -> TransformConfig:
    return TransformConfig(
        load_size=opt.loadSize,
        fine_size=opt.fineSize,
        resize_or_crop=opt.resize_or_crop,
        uses_flip=is_train(opt) and not opt.no_flip and opt.dataset_mode != "pose",
    )


def inference_transform_config(opt: Options) -> TransformConfig:
    """As test.py will have it of a run that is trained with `o`."""
    return replace(
        transform_config(opt),
        resize_or_crop=make_resize_deterministic(opt.resize_or_crop),
        uses_flip=False,
    )


def input_config(opt: Options, uses_real_images: bool) -> InputConfig:
    """reads_images: whether the first images need the real ones."""
    return InputConfig(
        dataroot=opt.dataroot,
        phase=opt.phase,
        input_source=opt.input,
        pipe_size=opt.input_size,
        uses_real_images=uses_real_images or opt.use_real_img,
        start_frame=opt.start_frame,
        max_frames=opt.how_many,
        should_loop=opt.loop and opt.input != "-" and opt.future_labels is None,
        max_sequences=opt.max_dataset_size,
        allow_links=opt.allow_links,
    )


def validation_input_config(opt: Options) -> InputConfig:
    """The clips that `--eval_freq` synthesises, or predicts."""
    return InputConfig(
        dataroot=opt.dataroot,
        phase=opt.eval_phase,
        uses_real_images=not is_label_prediction_training(opt),
        allow_links=opt.allow_links,
    )


def sampling_config(opt: Options, n_gpus_gen: int, world_size: int = 1) -> SamplerConfig:
    """n_gpus_gen: generator GPUs that share a window's frames. n_processes: share a step's clips, `batchSize` each."""
    if is_single_image_training(opt):  # clips of one frame, as many as there are frames
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


def schedule_config(opt: Options, max_sequence_length: int, n_gpus_gen: int) -> ScheduleConfig:
    """longest: frames of the longest sequence."""
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
    one = is_label_prediction_training(opt)  # network, whatever the flags of several say
    return ScheduleConfig(
        n_epochs=opt.niter,
        n_epochs_decay=opt.niter_decay,
        n_frames_G=opt.n_frames_G,
        n_frames_total=opt.n_frames_total,
        epochs_per_step=opt.niter_step,
        max_frames_per_gpu=opt.max_frames_per_gpu,
        max_frames_backpropagate=opt.max_frames_backpropagate,
        n_epochs_freeze_coarse=0 if one else opt.niter_fix_global,
        n_scales=1 if one else opt.n_scales_spatial,
        max_sequence_frames=max_sequence_length,
        n_generator_gpus=n_gpus_gen,
    )


def condition_config(opt: Options) -> ConditionConfig:
    edges = (
        opt.use_instance
        and opt.dataset_mode in ("temporal", "test")
        and not is_label_prediction_training(opt)
    )
    return ConditionConfig(opt.label_nc, instance_edges=edges)


def generator_config(opt: Options) -> GeneratorConfig:
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
        checkpoint_activations=is_train(opt) and opt.checkpoint_activations,
    )


def single_image_config(opt: Options) -> SingleImageConfig:
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
    return LabelPredictorConfig(
        label_nc=opt.label_nc,
        n_history=opt.n_frames_G - 1,
        width=opt.ngf,
        n_downsample=opt.n_downsample_G,
        n_blocks=opt.n_blocks,
        norm=opt.norm,
    )


def teacher_config(opt: Options) -> GeneratorConfig | None:
    """Of the networks in the run that `--distill_from` names."""
    taught = load_teacher_options(opt)
    return None if taught is None else generator_config(taught)


def encoder_config(opt: Options) -> EncoderConfig | None:
    return (
        EncoderConfig(opt.feat_num, opt.nef, opt.n_downsample_E, opt.norm)
        if uses_instance_features(opt)
        else None
    )


def size_multiple(opt: Options) -> int:
    """What all networks of the run need sides to divide by; each takes a power of two."""
    painter = (
        single_image_config(opt)
        if is_single_image_training(opt)
        else label_prediction_config(opt)
        if is_label_prediction_training(opt)
        else generator_config(opt)
    )
    return max(
        part.size_multiple
        for part in (painter, encoder_config(opt), teacher_config(opt))
        if part is not None
    )


def discriminator_config(opt: Options) -> DiscriminatorConfig:
    return DiscriminatorConfig(
        width=opt.ndf,
        n_layers=opt.n_layers_D,
        n_scales=opt.num_D,
        norm=opt.norm,
        returns_features=not opt.no_ganFeat,
        spectral_norm=opt.spectral_norm,
    )


def temporal_config(opt: Options) -> TemporalConfig:
    return TemporalConfig(
        opt.n_frames_D,
        n_scales=0 if is_auxiliary_training(opt) else opt.n_scales_temporal,
        is_sparse=opt.sparse_D,
    )


def optimizer_config(opt: Options) -> OptimizerConfig:
    return OptimizerConfig(lr=opt.lr, beta1=opt.beta1, uses_ttur=opt.TTUR)


def loss_config(opt: Options) -> LossConfig:
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
        face_crop_size=opt.fineSize // 32 * 8,
        uses_openpose_face=opt.openpose_only,
        should_score_raw=not is_single_image_training(opt),
        lambda_r1=opt.r1,
        lambda_distill=opt.lambda_distill,
    )


def flow_config(opt: Options) -> FlowConfig:
    return FlowConfig(
        "none" if is_auxiliary_training(opt) else opt.flow_net,
        opt.flownet2_checkpoint,
        opt.raft_weights,
    )


def trainer_config(opt: Options, schedule: ScheduleConfig, steps_per_epoch: int) -> TrainerConfig:
    every = 1 if opt.debug else None
    return TrainerConfig(
        conditions=condition_config(opt),
        losses=loss_config(opt),
        temporal=temporal_config(opt),
        schedule=schedule,
        steps_per_epoch=steps_per_epoch,
        no_first_img=opt.no_first_img,
        size_multiple=size_multiple(opt),
        folder=run_folder(opt),
        options=stringify_options(opt),
        print_freq=every or opt.print_freq,
        display_freq=every or opt.display_freq,
        save_latest_freq=opt.save_latest_freq,
        save_epoch_freq=opt.save_epoch_freq,
        eval_freq=opt.eval_freq,
        max_kept_epochs=opt.keep,
        ema_half_life=None if is_auxiliary_training(opt) else opt.ema,
    )


def first_frame_config(opt: Options) -> FirstFrameConfig:
    source: FirstFrameSource = (
        "zeros" if opt.no_first_img else "real" if opt.use_real_img else "single"
    )
    return FirstFrameConfig(
        source,
        opt.single_G or published_single_image_path(opt),
        opt.label_nc,
        is_face=opt.dataset_mode == "face",
        seed=opt.seed,
    )


def published_single_image_path(opt: Options) -> Path:
    """Where the published single-image network for this data is put."""
    if "City" in str(opt.dataroot):
        return opt.checkpoints_dir / "label2city_single" / f"latest_net_G_{opt.loadSize}.pth"
    return opt.checkpoints_dir / "edge2face_single"


def load_feature_sampler(opt: Options) -> FeatureSampler | None:
    """How regions look in test; read from the run's folder."""
    return (
        read_feature_sampler(run_folder(opt), opt.feat_num, opt.load_features, opt.seed)
        if uses_instance_features(opt)
        else None
    )


def model_config(opt: Options) -> ModelConfig:
    return ModelConfig(
        replace(generator_config(opt), checkpoint_activations=False),
        condition_config(opt),
        no_first_img=opt.no_first_img,
        is_face=opt.dataset_mode == "face",
    )


def synthesis_config(opt: Options) -> SynthesisConfig:
    config = SynthesisConfig.from_model_config(
        model_config(opt), load_feature_sampler(opt), amp_mode(opt)
    )
    return (
        replace(config, generate_frame=CompiledFrameGenerator())
        if not is_train(opt) and opt.compile
        else config
    )
