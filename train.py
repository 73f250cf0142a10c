"""Learn to turn label maps, face edges or poses into video: `python train.py --help`."""

from __future__ import annotations

from collections.abc import Iterator

from data.clips import ClipDataset, make_loader
from data.sampling import ClipPlan, Sampling, check_lengths, plan_epoch
from data.sequences import find_sequences
from models.flow import choose_flow
from models.networks import build_networks, build_optimizers
from models.perceptual import load_perceptual_loss
from models.saving import RunState, load_pretrained, resume
from models.schedule import ScheduleConfig, phase_at
from models.trainer import Trainer, TrainerConfig
from options import configs
from options.parsing import Options, listing, report
from options.rules import unused
from options.train import parse_train, training_parser
from util.errors import reported
from util.files import replacing
from util.journal import open_journal
from util.placement import place
from util.seeds import seed_everything


def batches(lengths: list[int], sampling: Sampling, schedule: ScheduleConfig, run: RunState) -> Iterator[list[ClipPlan]]:
    """The clips of every batch from where the run stands to its end."""
    for epoch in range(run.epoch, schedule.last_epoch + 1):
        plan = plan_epoch(lengths, sampling, phase_at(epoch, schedule).n_frames_total, epoch)
        yield from plan[run.step if epoch == run.epoch else 0:]
