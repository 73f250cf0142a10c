"""Flags that reduce the memory use of training, for the out-of-memory message."""

from __future__ import annotations

from options.schema import TrainOptions


def list_oom_hints(opt: TrainOptions) -> list[str]:
    """Return the flag changes that still reduce the memory use of this run, the most effective first."""
    if "crop" in opt.resize_or_crop.lower():
        size_hint = f"--fineSize {opt.fineSize} lower"
    else:
        size_hint = f"--loadSize {opt.loadSize} lower (memory grows with its square)"
    hints = [
        (opt.batchSize > 1, f"--batchSize {opt.batchSize} to 1"),
        (
            opt.max_frames_per_gpu > 1,
            f"--max_frames_per_gpu {opt.max_frames_per_gpu} to 1 (frames of a window)",
        ),
        (opt.amp == "off" and not opt.fp16, "--amp bf16"),
        (not opt.checkpoint_activations, "--checkpoint_activations (slower by a forward pass)"),
        (True, size_hint),
        (not opt.no_vgg, "--no_vgg"),
        (opt.n_scales_temporal > 1, f"--n_scales_temporal {opt.n_scales_temporal} to 1"),
        (opt.num_D > 1, f"--num_D {opt.num_D} to 1"),
        (opt.ngf > 16, f"--ngf {opt.ngf} to {opt.ngf // 2} (another network)"),
        (not opt.gpu_ids or "," not in opt.gpu_ids, "several --gpu_ids with --n_gpus_gen"),
    ]
    return [hint for is_applicable, hint in hints if is_applicable]
