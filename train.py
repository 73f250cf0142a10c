"""Learn to turn label maps, face edges or poses into video: `python train.py --help`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from tqdm import tqdm

from data.checks import check_frames
from data.clips import ClipDataset, spread_frames
from data.domain import Domain
from data.inputs import open_input
from data.loader import Desks, make_loader
from data.pictures import read_picture
from data.sampling import ClipPlan, Sampling, check_lengths, plan_epoch
from data.sequences import find_sequences
from models import first_frame
from models.appearance import save_appearances, survey
from models.evaluation import Figures, evaluate_synthesis, standard_measures
from models.flow import ReferenceFlow, choose_flow
from models.flow.annotate import annotator
from models.flow.cache import FlowCache
from models.flow.fill import file_pairs, fill
from models.networks import Networks, build_optimizers
from models.perceptual import load_perceptual_loss
from models.replay import replay
from models.saving import (
    RunState,
    guarding_saves,
    last_saved,
    load_pretrained,
    read_state,
    resume,
    set_aside,
)
from models.schedule import ScheduleConfig, phase_at
from models.temporal import PairsOf, flow_distances
from options import configs
from options.methods import METHODS
from options.parsing import Options, listing, report
from options.rules import unused
from options.stored import differing
from options.train import parse_train, training_parser
from util.errors import reported
from util.files import replacing
from util.journal import open_journal
from util.placement import Placement, place
from util.seeds import seed_everything
from util.signals import stop_when_asked

SURVEYED = 2000  # frames at most whose appearances are kept


def batches(lengths: list[int], sampling: Sampling, schedule: ScheduleConfig,
            run: RunState) -> Iterator[list[ClipPlan]]:
    """The clips of every batch from where the run stands to its end."""
    for epoch in range(run.epoch, schedule.last_epoch + 1):
        plan = plan_epoch(lengths, sampling, phase_at(epoch, schedule).n_frames_total, epoch)
        yield from plan[run.step if epoch == run.epoch else 0:]


def announce(options: Options, *lines: str) -> None:
    """The resolved options, what they leave unused, and what was chosen; also to the run's opt.txt."""
    parser = training_parser()
    print(report(options, parser), *unused(options, parser), *lines, sep="\n")
    with replacing(configs.run_folder(options) / "opt.txt") as temporary:
        temporary.write_text(listing(options))


def evaluator(options: Options, domain: Domain, networks: Networks, reference: ReferenceFlow,
              placement: Placement) -> Callable[[], Figures] | None:
    """What `--eval_freq` does every time; held-out data that does not fit is refused before training."""
    if not options.eval_freq or options.model == "single":
        return None
    held_out = open_input(configs.held_out(options), domain, configs.geometry(options), 0, configs.run_folder(options))
    first = first_frame.zeros if options.no_first_img else first_frame.real_pictures
    clips = [(name, reader) for name, reader, _ in held_out.sequences]
    return partial(evaluate_synthesis, networks.generator, clips, first, configs.synthesis(options),
                   standard_measures(reference, placement.device), options.eval_frames, placement.device)


def main() -> None:
    options = parse_train()
    placement = place(options.gpu_ids)
    seed_everything(options.seed)
    domain, folder, method = configs.domain(options), configs.run_folder(options), METHODS[options.model]
    state = read_state(folder) if options.continue_train else None
    notes = differing(state["options"], options) if state else []
    sequences = find_sequences(options.dataroot, options.phase, domain.streams(picture=True), options.allow_links)
    lengths = [len(sequence) for sequence in sequences]
    sampling = configs.sampling(options, placement.n_gpus_gen)
    check_lengths([sequence.name for sequence in sequences], lengths, sampling.n_frames_G)
    checked = check_frames(domain, sequences)
    schedule = configs.schedule(options, max(lengths), placement.n_gpus_gen)

    reference, why = choose_flow(configs.flow(options), placement.device)
    perceptual = None if options.no_vgg else load_perceptual_loss(options.vgg_weights).to(placement.device)
    networks = method.networks(options).to(placement.device)
    optimizers = build_optimizers(networks, configs.optimizer(options))
    run = RunState(batch_size=options.batchSize)
    if state:
        run = resume(folder, state, networks, optimizers).with_batches_of(options.batchSize)
    elif options.load_pretrain:
        notes += load_pretrained(networks, options.load_pretrain, options.which_epoch, options.allow_partial)
    if run.epoch > schedule.last_epoch:
        notes.append(f"all {schedule.last_epoch} epochs are done: raise --niter or --niter_decay to train on")
    with guarding_saves(folder):
        if not state and not options.debug_replay:
            notes += set_aside(folder)
        announce(options, placement.reason, checked, why, *notes)
    trainer = method.trainer(
        networks, optimizers, reference, perceptual,
        config=configs.trainer(options, schedule, steps_per_epoch=len(plan_epoch(lengths, sampling, 1, 1))),
        journal=open_journal(folder, options.name, options.display_winsize, not options.no_html, options.tf_log),
        device=placement.device, show=domain.show,
        evaluate=evaluator(options, domain, networks, reference, placement), stop=stop_when_asked())
    if options.debug_replay:
        print(*replay(trainer, options.debug_replay), sep="\n")
        return
    if options.flow_cache and not reference.runs_in_workers:  # they will find there what they cannot estimate
        pairs = file_pairs([sequence.files["picture"] for sequence in sequences],
                           flow_distances(options.max_t_step, configs.temporal(options)))
        fill(FlowCache.of(options.flow_cache, reference), pairs, reference, read_picture, placement.device)
    annotate = annotator(reference, PairsOf(options.n_frames_G, configs.temporal(options)), read_picture,
                         options.flow_cache)
    dataset = ClipDataset(domain, sequences, configs.geometry(options), annotate)
    desks = Desks.of(options.nThreads)
    with guarding_saves(folder), desks.naming_the_dead():
        run = trainer.fit(make_loader(dataset, batches(lengths, sampling, schedule, run), options.nThreads,
                                      pin=placement.pin_memory, desks=desks), run)
    if run.epoch <= schedule.last_epoch:
        print(f"stopped as asked; {last_saved(folder)}; go on with the same flags and --continue_train")
        return
    if networks.encoder is not None:
        frames = spread_frames(domain, sequences, configs.geometry(options), SURVEYED)
        table = survey(networks.encoder, tqdm(frames, "appearances"), options.dataset_mode == "face", placement.device)
        save_appearances(folder, table, options.seed)


if __name__ == "__main__":
    with reported():
        main()
