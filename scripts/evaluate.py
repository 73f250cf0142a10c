"""Measure the quality of generated videos.

`python scripts/evaluate.py datasets/NAME/test_B results/NAME/test_latest` prints a table and writes evaluation.json and
index.html.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from tqdm import tqdm

import models.evaluation
from data.frame_sources import (
    FrameSource,
    find_frame_sources,
    iter_real_fake_pairs,
    match_real_fake,
)
from data.prepare.extractors.labels import predict_label_map
from models.evaluation.feature_extractors import load_feature_extractor
from models.evaluation.lpips import load_lpips_metric
from models.evaluation.video_metrics import (
    SegmentationIoU,
    SequenceScores,
    build_evaluation_report,
    build_standard_metrics,
    score_sequence,
)
from models.flow import FlowConfig, build_flow_estimator
from models.flow.build import FLOW_NETS
from util.distributed import DeviceConfig, setup_devices
from util.errors import exit_on_user_error
from util.pages.evaluation import format_evaluation_table, write_evaluation_report

_CLIP_FRAMES = 16  # frames of a clip that --video_features describe


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=models.evaluation.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "real", type=Path, help="a video, a folder of frames, or a folder of such folders"
    )
    parser.add_argument(
        "fake", type=Path, help="the generated ones; in a results folder, the fake_B images"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the page and the JSON; default: FAKE_evaluation"
    )
    parser.add_argument(
        "--skip",
        type=int,
        default=0,
        metavar="N",
        help="real frames before the first generated one, if frames have no names "
        "(for videos: n_frames_G - 1)",
    )
    parser.add_argument(
        "--flow_net", choices=FLOW_NETS, default="auto", help="reference flow of the warping error"
    )
    parser.add_argument("--flownet2_checkpoint", type=Path, default=FlowConfig.flownet2_checkpoint)
    parser.add_argument("--raft_weights", type=Path)
    parser.add_argument(
        "--features",
        nargs="+",
        default=["statistics"],
        metavar="NAME|FILE",
        help="features of images for Fréchet distances: statistics (the default, needs no weights), "
        "inception (FID's, if its weights are installed), efficientnet-lite0 (a package), or the "
        "file of a network that you trust, TorchScript or torch.export, "
        "(1, 3, H, W) in [-1, 1] -> (1, D)",
    )
    parser.add_argument(
        "--video_features",
        nargs="+",
        default=["statistics"],
        metavar="NAME|FILE",
        help="features of clips for Fréchet distances: statistics, or the file of a network, "
        f"(1, 3, {_CLIP_FRAMES}, H, W) in [-1, 1] -> (1, D); with I3D as TorchScript, this is FVD",
    )
    parser.add_argument(
        "--segmenter",
        type=Path,
        metavar="ONNX",
        help="segmentation network for mean_iou, as in scripts/prepare.py --mode labels",
    )
    parser.add_argument("--gpu_ids", help="as in train.py")
    return parser


def main() -> None:
    """Run the command line."""
    args = _build_parser().parse_args()
    device = setup_devices(DeviceConfig(args.gpu_ids)).device
    flow_config = FlowConfig(args.flow_net, args.flownet2_checkpoint, args.raft_weights)
    flow_estimator, flow_summary = build_flow_estimator(flow_config, device)
    lpips_metric, lpips_summary = load_lpips_metric(device)
    metrics = build_standard_metrics(flow_estimator, device)
    if lpips_metric is not None:
        metrics.append(lpips_metric)
    if args.segmenter:
        metrics.append(SegmentationIoU(partial(predict_label_map, args.segmenter)))
    extractors = [load_feature_extractor(name, 1, device, "--features") for name in args.features]
    extractors += [
        load_feature_extractor(name, _CLIP_FRAMES, device, "--video_features")
        for name in args.video_features
    ]

    def score(real: FrameSource, fake: FrameSource) -> SequenceScores:
        pairs = tqdm(iter_real_fake_pairs(real, fake, args.skip), fake.name, unit="frame")
        return score_sequence(fake.name, pairs, metrics, extractors)

    real_sources = find_frame_sources(args.real, "real_B")
    fake_sources = find_frame_sources(args.fake, "fake_B")
    matches = match_real_fake(real_sources, fake_sources)
    settings = {
        "real": str(args.real),
        "generated": str(args.fake),
        "flow": flow_summary,
        "lpips": lpips_summary,
    }
    report = build_evaluation_report([score(real, fake) for real, fake in matches], settings)
    folder = args.out or args.fake.with_name(f"{args.fake.stem}_evaluation")
    write_evaluation_report(folder, report)
    print(format_evaluation_table(report))
    print(folder / "index.html")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
