"""From checked options to the frozen configuration that stands beside each component: all that it ever sees of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from data.domain import Domain
from data.face import Face
from data.geometry import GeometryConfig
from data.pose import Pose
from data.sampling import Sampling
from data.street import Street
from models.conditions import ConditionConfig
from models.discriminators import DiscriminatorConfig
from models.flow import FlowConfig
from models.generators import GeneratorConfig
from models.networks import OptimizerConfig
from models.objectives import ObjectiveConfig
from models.schedule import ScheduleConfig
from models.synthesis import SynthesisConfig
from models.temporal import TemporalConfig
from models.trainer import TrainerConfig
from options.parsing import Options, listing
from options.rules import composes, is_train
from util.placement import PlacementConfig


def run_folder(o: Options) -> Path:
    return o.checkpoints_dir / o.name


def results_folder(o: Options) -> Path:
    return o.results_dir / o.name / f"{o.phase}_{o.which_epoch}"


def option_texts(o: Options) -> dict[str, str]:
    """As they stand in `opt.txt`."""
    return dict(line.split(": ", 1) for line in listing(o).splitlines())


def placement(o: Options) -> PlacementConfig:
    shared = PlacementConfig(o.gpu_ids, amp="fp16" if o.fp16 else o.amp, tf32=o.tf32, cudnn=o.cudnn)
    if not is_train(o):
        return shared
    return replace(shared, n_gpus_gen=o.n_gpus_gen, batch_size=o.batchSize, sync_bn=o.sync_bn)


def domain(o: Options) -> Domain:
    if o.dataset_mode == "face":
        return Face(canny=not o.no_canny_edge, distance_maps=not o.no_dist_map,
                    random_scale_points=o.random_scale_points)
    if o.dataset_mode == "pose":
        return Pose(densepose=not o.openpose_only, openpose=not o.densepose_only, basic_points=o.basic_point_only,
                    remove_face_labels=o.remove_face_labels, drop_prob=o.random_drop_prob, people=o.people)
    return Street(label_nc=o.label_nc, input_nc=o.input_nc, use_instance=o.use_instance)


def geometry(o: Options) -> GeometryConfig:
    return GeometryConfig(load_size=o.loadSize, fine_size=o.fineSize, resize_or_crop=o.resize_or_crop,
                          flip=is_train(o) and not o.no_flip and o.dataset_mode != "pose")


def sampling(o: Options, n_gpus_gen: int, n_processes: int = 1) -> Sampling:
    """n_gpus_gen: generator GPUs that share a window's frames. n_processes: share a step's clips, `batchSize` each."""
    return Sampling(
        n_frames_G=o.n_frames_G, max_frames_per_gpu=o.max_frames_per_gpu, n_gpus_gen=n_gpus_gen,
        max_t_step=o.max_t_step, batch_size=o.batchSize * n_processes, max_clips=o.max_dataset_size,
        clips_per_epoch=o.clips_per_epoch, serial=o.serial_batches, per_start_frame=o.dataset_mode == "pose",
        seed=o.seed)


def schedule(o: Options, longest: int, n_gpus_gen: int) -> ScheduleConfig:
    """longest: frames of the longest sequence."""
    return ScheduleConfig(
        n_epochs=o.niter, n_epochs_decay=o.niter_decay, n_frames_G=o.n_frames_G, n_frames_total=o.n_frames_total,
        epochs_per_step=o.niter_step, max_frames_per_gpu=o.max_frames_per_gpu,
        max_frames_backpropagate=o.max_frames_backpropagate, epochs_finest_only=o.niter_fix_global,
        n_scales=o.n_scales_spatial, longest=longest, n_gpus=n_gpus_gen)


def conditions(o: Options) -> ConditionConfig:
    return ConditionConfig(o.label_nc, instance_edges=o.use_instance and o.dataset_mode in ("temporal", "test"))


def generator(o: Options) -> GeneratorConfig:
    return GeneratorConfig(
        condition_channels=(o.label_nc or o.input_nc) + conditions(o).instance_edges, picture_channels=o.output_nc,
        n_frames=o.n_frames_G, width=o.ngf, n_downsample=o.n_downsample_G, n_blocks=o.n_blocks,
        n_blocks_local=o.n_blocks_local, n_scales=o.n_scales_spatial, norm=o.norm, flow=composes(o),
        foreground=o.fg_labels if o.fg else (), checkpoint=is_train(o) and o.checkpoint_activations)


def discriminator(o: Options) -> DiscriminatorConfig:
    return DiscriminatorConfig(width=o.ndf, n_layers=o.n_layers_D, n_scales=o.num_D, norm=o.norm,
                               keep_features=not o.no_ganFeat, spectral_norm=o.spectral_norm)


def temporal(o: Options) -> TemporalConfig:
    return TemporalConfig(n_frames=o.n_frames_D, n_scales=o.n_scales_temporal, sparse=o.sparse_D)


def optimizer(o: Options) -> OptimizerConfig:
    return OptimizerConfig(lr=o.lr, beta1=o.beta1, two_rates=o.TTUR)


def objectives(o: Options) -> ObjectiveConfig:
    return ObjectiveConfig(
        gan_mode=o.gan_mode, n_layers=o.n_layers_D, num_D=o.num_D, n_scales=o.n_scales_spatial, composed=composes(o),
        penalise_weight=o.no_first_img, lambda_feat=o.lambda_feat, lambda_flow=o.lambda_F, lambda_warp=o.lambda_T,
        face_side=o.fineSize // 32 * 8, face_from_pose=o.openpose_only, r1=o.r1)


def flow(o: Options) -> FlowConfig:
    return FlowConfig(o.flow_net, o.flownet2_checkpoint, o.raft_weights)


def trainer(o: Options, schedule: ScheduleConfig, steps_per_epoch: int) -> TrainerConfig:
    every = 1 if o.debug else None
    return TrainerConfig(
        conditions=conditions(o), objectives=objectives(o), temporal=temporal(o), schedule=schedule,
        steps_per_epoch=steps_per_epoch, begin_with_zeros=o.no_first_img, size_multiple=generator(o).size_multiple,
        folder=run_folder(o), options=option_texts(o), print_freq=every or o.print_freq,
        display_freq=every or o.display_freq, save_latest_freq=o.save_latest_freq, save_epoch_freq=o.save_epoch_freq,
        ema=o.ema)


def synthesis(o: Options) -> SynthesisConfig:
    return SynthesisConfig(conditions(o), o.n_frames_G, generator(o).size_multiple, begin_with_zeros=o.no_first_img)
