"""How good generated videos are: `python scripts/evaluate.py datasets/NAME/test_B results/NAME/test_latest`."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from tqdm import tqdm

from data.footage import find_footage, match_footage, pairs
from data.prepare.labels import segment
from models.evaluation import Segmented, score_sequence, standard_measures, summary
from models.feature_networks import load_features
from models.flow import FlowConfig, choose_flow
from models.flow.choice import FLOW_NETS
from models.lpips import find_lpips
from util.errors import reported
from util.placement import PlacementConfig, place
from util.report import table, write_report

CLIP = 16  # frames that a video's features describe


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("real", type=Path, help="a video, a folder of frames, or a folder of such sequences")
    parser.add_argument("fake", type=Path, help="the generated ones; of a results folder fake_B is taken")
    parser.add_argument("--out", type=Path, help="folder of page and JSON; default: FAKE_evaluation, beside it")
    parser.add_argument("--skip", type=int, default=0, metavar="N",
                        help="real frames before the first generated one, where no names tell (videos: tG-1)")
    parser.add_argument("--flow_net", choices=FLOW_NETS, default="auto", help="reference flow of the warping error")
    parser.add_argument("--flownet2_checkpoint", type=Path, default=FlowConfig.flownet2_checkpoint)
    parser.add_argument("--raft_weights", type=Path)
    parser.add_argument("--features", nargs="+", default=["statistics"], metavar="NAME|FILE",
                        help="for Fréchet distances of pictures: statistics (the default, needs no weights), inception "
                             "(FID's, where its weights are), efficientnet-lite0 (a package), or a network that you "
                             "trust, TorchScript or torch.export, (1, 3, H, W) in [-1, 1] -> (1, D)")
    parser.add_argument("--video_features", nargs="+", default=["statistics"], metavar="FILE",
                        help=f"the same of clips (1, 3, {CLIP}, H, W): with I3D as TorchScript, FVD's")
    parser.add_argument("--segmenter", type=Path, metavar="ONNX", help="for the mean IoU of what it finds in generated "
                        "and real frames; as for scripts/prepare.py --mode labels")
    parser.add_argument("--gpu_ids", help="as in train.py")
    return parser


def main() -> None:
    args = _parser().parse_args()
    device = place(PlacementConfig(args.gpu_ids)).device
    flow, why = choose_flow(FlowConfig(args.flow_net, args.flownet2_checkpoint, args.raft_weights), device)
    lpips, about_lpips = find_lpips(device)
    measures = standard_measures(flow, device) + ([lpips] if lpips else [])
    if args.segmenter:
        measures.append(Segmented(partial(segment, args.segmenter)))
    features = [*(load_features(which, 1, device, "--features") for which in args.features),
                *(load_features(which, CLIP, device, "--video_features") for which in args.video_features)]

    matched = match_footage(find_footage(args.real, "real_B"), find_footage(args.fake, "fake_B"))
    sequences = [score_sequence(fake.name, tqdm(pairs(real, fake, args.skip), fake.name, unit="frame"),
                                measures, features) for real, fake in matched]
    settings = {"real": str(args.real), "generated": str(args.fake), "flow": why, "lpips": about_lpips}
    report = summary(sequences, settings)
    folder = args.out or args.fake.with_name(f"{args.fake.stem}_evaluation")
    write_report(folder, report)
    print(table(report), f"{folder / 'index.html'}", sep="\n")


if __name__ == "__main__":
    with reported():
        main()
