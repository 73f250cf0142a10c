"""The parts of a training run, put together from its options: the one place where `data` and `models` meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from data.checks import check_frames
from data.clips import ClipDataset, spread_frames
from data.domain import Domain
from data.inputs import Readers, open_input
from data.loader import Desks, make_loader
from data.pictures import read_picture
from data.sampling import ClipPlan, Sampling, check_lengths, plan_epoch
from data.sequences import Sequence, find_sequences
from models import first_frame
from models.appearance import save_appearances, survey
from models.compiled import Compiler
from models.distillation import load_teacher
from models.evaluation import Figures, evaluate_synthesis, standard_measures
from models.flow import ReferenceFlow, choose_flow
from models.flow.annotate import annotator
from models.flow.cache import FlowCache
from models.flow.fill import file_pairs, fill
from models.future_evaluation import measure_foresight
from models.future_labels import Foreteller, LabelPredictor
from models.networks import Networks
from models.perceptual import load_perceptual_loss
from models.saving import RunState, load_pretrained, resume, set_aside
from models.schedule import ScheduleConfig, phase_at
from models.teams import Teams, build_teams
from models.temporal import PairsOf, flow_distances
from options import configs
from options.loading import load_predictor
from options.parsing import Options
from options.rules import predicts_labels
from util.clip import Clip
from util.journal import Journal, open_journal
from util.placement import Placement
from util.placement.stepping import Stepper

SURVEYED = 2000  # frames at most whose appearances are kept


@dataclass(frozen=True)
class Footage:
    """The sequences to learn from, and which clips of them make which epoch. checked: what was looked at, in words."""

    domain: Domain
    sequences: tuple[Sequence, ...]
    sampling: Sampling
    schedule: ScheduleConfig
    checked: str

    @property
    def files(self) -> list[tuple[Path, ...]]:
        """The pictures of each sequence."""
        return [sequence.files["picture"] for sequence in self.sequences]

    def epoch(self, number: int) -> list[list[ClipPlan]]:
        """The batches of an epoch."""
        length = phase_at(number, self.schedule).n_frames_total
        return plan_epoch([len(sequence) for sequence in self.sequences], self.sampling, length, number)

    def batches(self, run: RunState) -> Iterator[list[ClipPlan]]:
        """Those from where the run stands to its end."""
        for epoch in range(run.epoch, self.schedule.last_epoch + 1):
            yield from self.epoch(epoch)[run.step if epoch == run.epoch else 0:]


def open_footage(options: Options, placement: Placement) -> Footage:
    """UserError names the file, folder or sequence that does not fit."""
    domain = configs.domain(options)
    sampling = configs.sampling(options, placement.n_gpus_gen, placement.processes.count)
    sequences = find_sequences(options.dataroot, options.phase, domain.streams(picture=not predicts_labels(options)),
                               options.allow_links)
    lengths = [len(sequence) for sequence in sequences]
    check_lengths([sequence.name for sequence in sequences], lengths, sampling.n_frames_G)
    return Footage(domain, sequences, sampling, configs.schedule(options, max(lengths), placement.n_gpus_gen),
                   check_frames(domain, sequences))


def team_up(options: Options, networks: Networks, reference: ReferenceFlow, placement: Placement) -> Teams:
    """The networks and their teachers on all devices of the run."""
    alone = options.no_vgg or predicts_labels(options)
    perceptual = None if alone else load_perceptual_loss(options.vgg_weights).to(placement.device)
    if options.sync_bn:
        networks.share_norms()

    def reference_on(device: torch.device) -> ReferenceFlow:
        return reference if device == placement.device else choose_flow(configs.flow(options), device)[0]

    config = configs.teacher(options)
    teacher = None if config is None else load_teacher(config, options.distill_from).to(placement.device)
    compiler = Compiler() if options.compile and not options.debug_replay else None
    return build_teams(placement, networks, perceptual, reference_on, teacher, compiler)


def begin(options: Options, state: Mapping[str, Any] | None, networks: Networks, optimizers: Mapping[str, Stepper],
          footage: Footage, placement: Placement) -> tuple[RunState, list[str]]:
    """Where the run stands, its weights in place, and what is to be said about that. state: of a run that goes on."""
    folder, batch_size = configs.run_folder(options), footage.sampling.batch_size
    run, notes = RunState(batch_size=batch_size), []
    if state:
        run = resume(folder, state, networks, optimizers).with_batches_of(batch_size)
    elif options.load_pretrain:
        notes += load_pretrained(networks, options.load_pretrain, options.which_epoch, options.allow_partial)
    if not options.debug_replay and writes(options, placement):
        notes += [] if state else set_aside(folder)
        if options.model == "vid2vid":
            configs.blueprint(options).save(folder)
    if run.epoch > footage.schedule.last_epoch:
        notes.append(f"all {footage.schedule.last_epoch} epochs are done: raise --niter or --niter_decay to train on")
    return run, notes


def writes(options: Options, placement: Placement) -> bool:
    """Whether this process leaves files: one does for all, and none in a rehearsal."""
    return placement.processes.leads and not options.dry_run


def build_journal(options: Options, placement: Placement) -> Journal | None:
    """None in a process that leaves no files."""
    if not writes(options, placement):
        return None
    return open_journal(configs.run_folder(options), options.name, options.display_winsize, not options.no_html,
                        options.tf_log)


@contextmanager
def open_clips(options: Options, footage: Footage, reference: ReferenceFlow, run: RunState,
                 placement: Placement) -> Iterator[Iterator[Clip]]:
    """The clips from where the run stands on, read ahead; a worker that dies is a UserError that names its file."""
    temporal = configs.temporal(options)
    if options.flow_cache and not reference.runs_in_workers:  # they will find there what they cannot estimate
        pairs = file_pairs(footage.files, flow_distances(options.max_t_step, temporal))
        fill(FlowCache.of(options.flow_cache, reference), pairs, reference, read_picture, placement.device)
    annotate = annotator(reference, PairsOf(options.n_frames_G, temporal), read_picture, options.flow_cache)
    dataset = ClipDataset(footage.domain, footage.sequences, configs.geometry(options), annotate)
    start = replace(run, epoch=footage.schedule.last_epoch, step=0) if options.dry_run else run  # its longest clips
    batches = map(placement.processes.share, footage.batches(start))
    desks = Desks.of(options.nThreads)
    with desks.naming_the_dead():
        yield make_loader(dataset, batches, options.nThreads, pin=placement.pin_memory, desks=desks)


def evaluator(options: Options, domain: Domain, networks: Networks, reference: ReferenceFlow,
              placement: Placement) -> Callable[[], Figures] | None:
    """What `--eval_freq` does every time; held-out data that does not fit is refused before training."""
    if not options.eval_freq or options.model == "single":
        return None
    given = options.n_frames_G - 1
    held_out = open_input(configs.held_out(options), domain, configs.test_geometry(options), given,
                          configs.run_folder(options))
    if predicts_labels(options):
        readers = [reader for _, reader, _ in held_out.sequences]
        predictor = networks.generator[0]
        assert isinstance(predictor, LabelPredictor)
        return lambda: measure_foresight(predictor, readers, options.eval_frames, placement.device).figures()
    first = first_frame.zeros if options.no_first_img else first_frame.real_pictures
    clips = [(name, reader) for name, reader, _ in held_out.sequences]
    return partial(evaluate_synthesis, networks.generator, clips, first, configs.synthesis(options),
                   standard_measures(reference, placement.device), options.eval_frames, placement.device)


def open_conditions(options: Options, domain: Domain, reads_pictures: bool, device: torch.device,
                    work: Path) -> Readers:
    """What test.py turns into video: what is given, or, with `--future_labels`, what is predicted from its beginning.

    reads_pictures: whether the first pictures need the real ones. work: where a video's conditions are written."""
    given, source, geometry = options.n_frames_G - 1, configs.source(options, reads_pictures), configs.geometry(options)
    if options.future_labels is None:
        return open_input(source, domain, geometry, given, work)
    assert source.video != "-" and not source.loop, "the options' rules see to it"
    teller = Foreteller(load_predictor(options.future_labels, options.label_nc, device), given, device,
                        options.future_frames)
    needed = teller.n_known if options.future_frames is None else teller.n_known - 1
    readers = open_input(source, domain, geometry, needed, work)
    return replace(readers, sequences=[(name, teller.clips(reader), teller.length(length, name))
                                       for name, reader, length in readers.sequences if length is not None])


def keep_appearances(options: Options, footage: Footage, networks: Networks, placement: Placement) -> None:
    """After training with an encoder: what instances looked like, for test.py to draw from."""
    if networks.encoder is None:
        return
    frames = spread_frames(footage.domain, footage.sequences, configs.geometry(options), SURVEYED)
    table = survey(networks.encoder, tqdm(frames, "appearances"), options.dataset_mode == "face", placement.device)
    save_appearances(configs.run_folder(options), table, options.seed)
