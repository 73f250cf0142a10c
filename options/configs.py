"""From checked options to the frozen configuration that stands beside each component: all that it ever sees of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from data.domain import Domain
from data.face import Face
from data.geometry import GeometryConfig
from data.inputs import InputConfig
from data.pose import Pose
from data.sampling import Sampling
from data.street import Street
from models.appearance import Looks, load_looks
from models.blueprint import Blueprint
from models.compiled import CompiledStep
from models.conditions import ConditionConfig
from models.discriminators import DiscriminatorConfig
from models.first_frame import FirstFrameConfig, FirstSource
from models.flow import FlowConfig
from models.future_labels import FutureLabelConfig
from models.generators import GeneratorConfig
from models.networks import OptimizerConfig
from models.objectives import ObjectiveConfig
from models.schedule import ScheduleConfig
from models.single import EncoderConfig, SingleConfig
from models.synthesis import SynthesisConfig
from models.temporal import TemporalConfig
from models.trainer import TrainerConfig
from options.parsing import Options, option_texts
from options.rules import composes, encodes, is_train, predicts_labels, trains_beside, trains_single
from options.stored import teacher_options, without_chance
from util.placement import PlacementConfig


def run_folder(o: Options) -> Path:
    return o.checkpoints_dir / o.name


def results_folder(o: Options) -> Path:
    return o.results_dir / o.name / f"{o.phase}_{o.which_epoch}"


def placement(o: Options) -> PlacementConfig:
    shared = PlacementConfig(o.gpu_ids, amp=amp(o), tf32=o.tf32, cudnn=o.cudnn)
    if not is_train(o):  # who has made its videos waits for whoever still makes one
        return replace(shared, patience=timedelta(days=7))
    generators = -1 if trains_beside(o) else o.n_gpus_gen
    return replace(shared, n_gpus_gen=generators, batch_size=o.batchSize, sync_bn=o.sync_bn)


def amp(o: Options) -> str:
    return "fp16" if o.fp16 else o.amp


def domain(o: Options) -> Domain:
    if o.dataset_mode == "face":
        return Face(canny=not o.no_canny_edge, distance_maps=not o.no_dist_map,
                    random_scale_points=o.random_scale_points)
    if o.dataset_mode == "pose":
        return Pose(densepose=not o.openpose_only, openpose=not o.densepose_only, basic_points=o.basic_point_only,
                    remove_face_labels=o.remove_face_labels, drop_prob=o.random_drop_prob, people=o.people)
    return Street(label_nc=o.label_nc, input_nc=o.input_nc, use_instance=o.use_instance and not predicts_labels(o),
                  ignore_label=o.ignore_label)


def geometry(o: Options) -> GeometryConfig:
    return GeometryConfig(load_size=o.loadSize, fine_size=o.fineSize, resize_or_crop=o.resize_or_crop,
                          flip=is_train(o) and not o.no_flip and o.dataset_mode != "pose")


def test_geometry(o: Options) -> GeometryConfig:
    """As test.py will have it of a run that is trained with `o`."""
    return replace(geometry(o), resize_or_crop=without_chance(o.resize_or_crop), flip=False)


def source(o: Options, reads_pictures: bool) -> InputConfig:
    """reads_pictures: whether the first pictures need the real ones."""
    return InputConfig(dataroot=o.dataroot, phase=o.phase, video=o.input, size=o.input_size,
                       picture=reads_pictures or o.use_real_img, start=o.start_frame, count=o.how_many,
                       loop=o.loop and o.input != "-" and o.future_labels is None,
                       max_sequences=o.max_dataset_size, allow_links=o.allow_links)


def held_out(o: Options) -> InputConfig:
    """The clips that `--eval_freq` synthesises, or predicts."""
    return InputConfig(dataroot=o.dataroot, phase=o.eval_phase, picture=not predicts_labels(o),
                       allow_links=o.allow_links)


def sampling(o: Options, n_gpus_gen: int, n_processes: int = 1) -> Sampling:
    """n_gpus_gen: generator GPUs that share a window's frames. n_processes: share a step's clips, `batchSize` each."""
    if trains_single(o):  # clips of one frame, as many as there are frames
        return Sampling(n_frames_G=1, batch_size=o.batchSize * n_processes, max_clips=o.max_dataset_size,
                        clips_per_epoch=o.clips_per_epoch, serial=o.serial_batches, per_start_frame=True, seed=o.seed)
    return Sampling(
        n_frames_G=o.n_frames_G, max_frames_per_gpu=o.max_frames_per_gpu, n_gpus_gen=n_gpus_gen,
        max_t_step=o.max_t_step, batch_size=o.batchSize * n_processes, max_clips=o.max_dataset_size,
        clips_per_epoch=o.clips_per_epoch, serial=o.serial_batches, per_start_frame=o.dataset_mode == "pose",
        seed=o.seed)


def schedule(o: Options, longest: int, n_gpus_gen: int) -> ScheduleConfig:
    """longest: frames of the longest sequence."""
    if trains_single(o):
        return ScheduleConfig(
            n_epochs=o.niter, n_epochs_decay=o.niter_decay, n_frames_G=1, n_frames_total=1,
            epochs_per_step=o.niter + o.niter_decay, max_frames_per_gpu=1, max_frames_backpropagate=1,
            epochs_finest_only=0, n_scales=1, longest=1)
    one = predicts_labels(o)  # network, whatever the flags of several say
    return ScheduleConfig(
        n_epochs=o.niter, n_epochs_decay=o.niter_decay, n_frames_G=o.n_frames_G, n_frames_total=o.n_frames_total,
        epochs_per_step=o.niter_step, max_frames_per_gpu=o.max_frames_per_gpu,
        max_frames_backpropagate=o.max_frames_backpropagate, epochs_finest_only=0 if one else o.niter_fix_global,
        n_scales=1 if one else o.n_scales_spatial, longest=longest, n_gpus=n_gpus_gen)


def conditions(o: Options) -> ConditionConfig:
    edges = o.use_instance and o.dataset_mode in ("temporal", "test") and not predicts_labels(o)
    return ConditionConfig(o.label_nc, instance_edges=edges)


def generator(o: Options) -> GeneratorConfig:
    return GeneratorConfig(
        condition_channels=(o.label_nc or o.input_nc) + conditions(o).instance_edges, picture_channels=o.output_nc,
        n_frames=o.n_frames_G, width=o.ngf, n_downsample=o.n_downsample_G, n_blocks=o.n_blocks,
        n_blocks_local=o.n_blocks_local, n_scales=o.n_scales_spatial, norm=o.norm, flow=composes(o),
        foreground=o.fg_labels if o.fg else (), n_features=o.feat_num if encodes(o) else 0,
        checkpoint=is_train(o) and o.checkpoint_activations)


def single(o: Options) -> SingleConfig:
    return SingleConfig(
        kind=o.netG, condition_channels=generator(o).condition_channels, n_features=o.feat_num if encodes(o) else 0,
        width=o.ngf, n_downsample=o.n_downsample_G, n_blocks=o.n_blocks, n_blocks_local=o.n_blocks_local,
        n_enhancers=o.n_local_enhancers, norm=o.norm)


def future_labels(o: Options) -> FutureLabelConfig:
    return FutureLabelConfig(label_nc=o.label_nc, n_past=o.n_frames_G - 1, width=o.ngf, n_downsample=o.n_downsample_G,
                             n_blocks=o.n_blocks, norm=o.norm)


def teacher(o: Options) -> GeneratorConfig | None:
    """Of the networks in the run that `--distill_from` names."""
    taught = teacher_options(o)
    return None if taught is None else generator(taught)


def encoder(o: Options) -> EncoderConfig | None:
    return EncoderConfig(o.feat_num, o.nef, o.n_downsample_E, o.norm) if encodes(o) else None


def size_multiple(o: Options) -> int:
    """What all networks of the run need sides to divide by; each takes a power of two."""
    painter = single(o) if trains_single(o) else future_labels(o) if predicts_labels(o) else generator(o)
    return max(part.size_multiple for part in (painter, encoder(o), teacher(o)) if part is not None)


def discriminator(o: Options) -> DiscriminatorConfig:
    return DiscriminatorConfig(width=o.ndf, n_layers=o.n_layers_D, n_scales=o.num_D, norm=o.norm,
                               keep_features=not o.no_ganFeat, spectral_norm=o.spectral_norm)


def temporal(o: Options) -> TemporalConfig:
    return TemporalConfig(o.n_frames_D, n_scales=0 if trains_beside(o) else o.n_scales_temporal, sparse=o.sparse_D)


def optimizer(o: Options) -> OptimizerConfig:
    return OptimizerConfig(lr=o.lr, beta1=o.beta1, two_rates=o.TTUR)


def objectives(o: Options) -> ObjectiveConfig:
    return ObjectiveConfig(
        gan_mode=o.gan_mode, n_layers=o.n_layers_D, num_D=o.num_D, n_scales=o.n_scales_spatial, composed=composes(o),
        penalise_weight=o.no_first_img, lambda_feat=o.lambda_feat, lambda_flow=o.lambda_F, lambda_warp=o.lambda_T,
        face_side=o.fineSize // 32 * 8, face_from_pose=o.openpose_only, count_raw=not trains_single(o), r1=o.r1,
        lambda_distill=o.lambda_distill)


def flow(o: Options) -> FlowConfig:
    return FlowConfig("none" if trains_beside(o) else o.flow_net, o.flownet2_checkpoint, o.raft_weights)


def trainer(o: Options, schedule: ScheduleConfig, steps_per_epoch: int) -> TrainerConfig:
    every = 1 if o.debug else None
    return TrainerConfig(
        conditions=conditions(o), objectives=objectives(o), temporal=temporal(o), schedule=schedule,
        steps_per_epoch=steps_per_epoch, begin_with_zeros=o.no_first_img, size_multiple=size_multiple(o),
        folder=run_folder(o), options=option_texts(o), print_freq=every or o.print_freq,
        display_freq=every or o.display_freq, save_latest_freq=o.save_latest_freq, save_epoch_freq=o.save_epoch_freq,
        eval_freq=o.eval_freq, keep=o.keep, ema=None if trains_beside(o) else o.ema)


def first_frame(o: Options) -> FirstFrameConfig:
    source: FirstSource = "zeros" if o.no_first_img else "real" if o.use_real_img else "single"
    return FirstFrameConfig(source, o.single_G or published_single(o), o.label_nc, faces=o.dataset_mode == "face",
                            seed=o.seed)


def published_single(o: Options) -> Path:
    """Where the published single-image network for this data is put."""
    if "City" in str(o.dataroot):
        return o.checkpoints_dir / "label2city_single" / f"latest_net_G_{o.loadSize}.pth"
    return o.checkpoints_dir / "edge2face_single"


def looks(o: Options) -> Looks | None:
    """How regions look in test; read from the run's folder."""
    return load_looks(run_folder(o), o.feat_num, o.load_features, o.seed) if encodes(o) else None


def blueprint(o: Options) -> Blueprint:
    return Blueprint(replace(generator(o), checkpoint=False), conditions(o), begin_with_zeros=o.no_first_img,
                     faces=o.dataset_mode == "face")


def synthesis(o: Options) -> SynthesisConfig:
    config = blueprint(o).synthesis(looks(o), amp(o))
    return replace(config, step=CompiledStep()) if not is_train(o) and o.compile else config
