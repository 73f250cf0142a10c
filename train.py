"""Learn to turn label maps, face edges or poses into video: `python train.py --help`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import device

from data.checks import check_frames
from data.clips import ClipDataset, make_loader
from data.pictures import read_picture
from data.sampling import ClipPlan, Sampling, check_lengths, plan_epoch
from data.sequences import find_sequences
from models.flow import ReferenceFlow, choose_flow
from models.flow.annotate import annotator
from models.flow.cache import FlowCache
from models.flow.fill import file_pairs, fill
from models.networks import build_networks, build_optimizers
from models.perceptual import load_perceptual_loss
from models.saving import RunState, load_pretrained, resume
from models.schedule import ScheduleConfig, phase_at
from models.teams import build_teams
from models.temporal import PairsOf, flow_distances
from models.trainer import Trainer
from options import configs
from options.parsing import Options, listing, report
from options.rules import unused
from options.train import parse_train, training_parser
from util.errors import reported
from util.files import replacing
from util.journal import open_journal
from util.placement import Placement, place
from util.seeds import seed_everything


def batches(lengths: list[int], sampling: Sampling, schedule: ScheduleConfig, run: RunState,
            placement: Placement) -> Iterator[list[ClipPlan]]:
    """This process's clips of every batch from where the run stands to its end."""
    for epoch in range(run.epoch, schedule.last_epoch + 1):
        plan = plan_epoch(lengths, sampling, phase_at(epoch, schedule).n_frames_total, epoch)
        yield from map(placement.processes.share, plan[run.step if epoch == run.epoch else 0:])


def announce(options: Options, *lines: str) -> None:
    """The resolved options, what they leave unused, and what was chosen; also to the run's opt.txt."""
    parser = training_parser()
    print(report(options, parser), *unused(options, parser), *lines, sep="\n")
    with replacing(configs.run_folder(options) / "opt.txt") as temporary:
        temporary.write_text(listing(options))


def flow_for(options: Options, reference: ReferenceFlow, placement: Placement) -> Callable[[device], ReferenceFlow]:
    """The reference flow of each device: home's is loaded already."""
    return lambda at: reference if at == placement.device else choose_flow(configs.flow(options), at)[0]


def main() -> None:
    options = parse_train()
    placement = place(configs.placement(options))
    seed_everything(options.seed)
    domain, folder = configs.domain(options), configs.run_folder(options)
    sequences = find_sequences(options.dataroot, options.phase, domain.streams(picture=True))
    lengths = [len(sequence) for sequence in sequences]
    check_lengths([sequence.name for sequence in sequences], lengths, options.n_frames_G)
    checked = check_frames(domain, sequences)
    sampling = configs.sampling(options, placement.n_gpus_gen, placement.processes.count)
    schedule = configs.schedule(options, max(lengths), placement.n_gpus_gen)

    generator = configs.generator(options)
    reference, why = choose_flow(configs.flow(options), placement.device)
    perceptual = None if options.no_vgg else load_perceptual_loss(options.vgg_weights).to(placement.device)
    networks = build_networks(generator, configs.discriminator(options), configs.temporal(options),
                              face=options.add_face_disc, averaged=options.ema is not None).to(placement.device)
    optimizers = placement.steppers(build_optimizers(networks, configs.optimizer(options)), options.grad_clip)
    run = RunState(batch_size=sampling.batch_size)
    fresh = []
    if options.continue_train:
        run = resume(folder, networks, optimizers)
    elif options.load_pretrain:
        fresh = load_pretrained(networks, options.load_pretrain, options.which_epoch)
    if placement.processes.leads:
        announce(options, placement.reason, checked, why, *fresh)
    teams = build_teams(placement, networks, perceptual, flow_for(options, reference, placement))
    trainer = Trainer(
        networks, optimizers, teams, placement,
        config=configs.trainer(options, schedule, steps_per_epoch=len(plan_epoch(lengths, sampling, 1, 1))),
        journal=(open_journal(folder, options.name, options.display_winsize, not options.no_html, options.tf_log)
                 if placement.processes.leads else None),
        show=domain.show)
    if options.flow_cache and not reference.runs_in_workers:  # they will find there what they cannot estimate
        pairs = file_pairs([sequence.files["picture"] for sequence in sequences],
                           flow_distances(options.max_t_step, configs.temporal(options)))
        fill(FlowCache.of(options.flow_cache, reference), pairs, reference, read_picture, placement.device)
    annotate = annotator(reference, PairsOf(options.n_frames_G, configs.temporal(options)), read_picture,
                         options.flow_cache)
    dataset = ClipDataset(domain, sequences, configs.geometry(options), annotate)
    trainer.fit(make_loader(dataset, batches(lengths, sampling, schedule, run, placement), options.nThreads,
                            pin=placement.pin_memory), run)


if __name__ == "__main__":
    with reported():
        main()
