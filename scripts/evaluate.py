"""How good generated videos are: `python scripts/evaluate.py datasets/NAME/test_B results/NAME/test_latest`."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from tqdm import tqdm

from data.frame_sources import find_frame_sources, iter_real_fake_pairs, match_real_fake
from data.prepare.extractors.labels import predict_label_map
from models.evaluation.feature_extractors import load_feature_extractor
from models.evaluation.lpips import load_lpips_metric
from models.evaluation.video_metrics import (
    SegmentationIoU,
    build_evaluation_report,
    build_standard_metrics,
    score_sequence,
)
from models.flow import FlowConfig, build_flow_estimator
from models.flow.build import FLOW_NETS
from util.distributed import DeviceConfig, setup_devices
from util.errors import exit_on_user_error
from util.pages.evaluation import format_evaluation_table, write_evaluation_report

_CLIP_FRAMES = 16  # frames that a video's features describe


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "real", type=Path, help="a video, a folder of frames, or a folder of such sequences"
    )
    parser.add_argument(
        "fake", type=Path, help="the generated ones; of a results folder fake_B is taken"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of page and JSON; default: FAKE_evaluation, beside it"
    )
    parser.add_argument(
        "--skip",
        type=int,
        default=0,
        metavar="N",
        help="real frames before the first generated one, where no names tell (videos: tG-1)",
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
        help="for Fréchet distances of images: statistics (the default, needs no weights), inception "
        "(FID's, where its weights are), efficientnet-lite0 (a package), or a network that you "
        "trust, TorchScript or torch.export, (1, 3, H, W) in [-1, 1] -> (1, D)",
    )
    parser.add_argument(
        "--video_features",
        nargs="+",
        default=["statistics"],
        metavar="FILE",
        help=f"the same of clips (1, 3, {_CLIP_FRAMES}, H, W): with I3D as TorchScript, FVD's",
    )
    parser.add_argument(
        "--segmenter",
        type=Path,
        metavar="ONNX",
        help="for the mean IoU of what it finds in generated "
        "and real frames; as for scripts/prepare.py --mode labels",
    )
    parser.add_argument("--gpu_ids", help="as in train.py")
    return parser


def main() -> None:
    args = _build_parser().parse_args()
    device = setup_devices(DeviceConfig(args.gpu_ids)).device
    flow, why = build_flow_estimator(
        FlowConfig(args.flow_net, args.flownet2_checkpoint, args.raft_weights), device
    )
    lpips, about_lpips = load_lpips_metric(device)
    measures = build_standard_metrics(flow, device) + ([lpips] if lpips else [])
    if args.segmenter:
        measures.append(SegmentationIoU(partial(predict_label_map, args.segmenter)))
    features = [
        *(load_feature_extractor(which, 1, device, "--features") for which in args.features),
        *(
            load_feature_extractor(which, _CLIP_FRAMES, device, "--video_features")
            for which in args.video_features
        ),
    ]

    matched = match_real_fake(
        find_frame_sources(args.real, "real_B"), find_frame_sources(args.fake, "fake_B")
    )
    sequences = [
        score_sequence(
            fake.name,
            tqdm(iter_real_fake_pairs(real, fake, args.skip), fake.name, unit="frame"),
            measures,
            features,
        )
        for real, fake in matched
    ]
    settings = {
        "real": str(args.real),
        "generated": str(args.fake),
        "flow": why,
        "lpips": about_lpips,
    }
    report = build_evaluation_report(sequences, settings)
    folder = args.out or args.fake.with_name(f"{args.fake.stem}_evaluation")
    write_evaluation_report(folder, report)
    print(format_evaluation_table(report), f"{folder / 'index.html'}", sep="\n")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
