"""What to turn when memory runs out."""

from __future__ import annotations

from options.parsing import Options


def memory_knobs(o: Options) -> list[str]:
    """With the values of this run; the most valuable first, those that it has turned already left out."""
    crops = "crop" in o.resize_or_crop.lower()
    knobs = [
        (o.batchSize > 1, f"--batchSize {o.batchSize} to 1"),
        (o.max_frames_per_gpu > 1, f"--max_frames_per_gpu {o.max_frames_per_gpu} to 1 (frames of a window)"),
        (o.amp == "off" and not o.fp16, "--amp bf16"),
        (not o.checkpoint_activations, "--checkpoint_activations (slower by a forward pass)"),
        (True, f"--fineSize {o.fineSize} lower" if crops else f"--loadSize {o.loadSize} lower (memory goes with its "
                                                              "square)"),
        (not o.no_vgg, "--no_vgg"),
        (o.n_scales_temporal > 1, f"--n_scales_temporal {o.n_scales_temporal} to 1"),
        (o.num_D > 1, f"--num_D {o.num_D} to 1"),
        (o.ngf > 16, f"--ngf {o.ngf} to {o.ngf // 2} (another network)"),
        (not o.gpu_ids or "," not in o.gpu_ids, "several --gpu_ids with --n_gpus_gen"),
    ]
    return [words for fits, words in knobs if fits]
