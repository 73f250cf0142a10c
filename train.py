"""Learn to turn label maps, face edges or poses into video: `python train.py --help`."""

from __future__ import annotations

from collections.abc import Iterator

from data.checks import check_beginnings
from data.clips import ClipDataset
from data.loader import Desks, make_loader
from data.sampling import ClipPlan, Sampling, check_lengths, plan_epoch
from data.sequences import find_sequences
from models.flow import choose_flow
from models.flow.annotate import EstimatingAnnotator
from models.networks import build_networks, build_optimizers
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
from models.temporal import PairsOf
from models.trainer import Trainer
from options import configs
from options.parsing import Options, listing, report
from options.rules import unused
from options.stored import differing
from options.train import parse_train, training_parser
from util.errors import reported
from util.files import replacing
from util.journal import open_journal
from util.placement import place
from util.seeds import seed_everything
from util.signals import stop_when_asked


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


def main() -> None:
    options = parse_train()
    placement = place(options.gpu_ids)
    seed_everything(options.seed)
    folder = configs.run_folder(options)
    state = read_state(folder) if options.continue_train else None
    notes = differing(state["options"], options) if state else []
    domain = configs.domain(options)
    sequences = find_sequences(options.dataroot, options.phase, domain.streams(picture=True),
                               options.allow_links)
    lengths = [len(sequence) for sequence in sequences]
    check_lengths([sequence.name for sequence in sequences], lengths, options.n_frames_G)
    notes += check_beginnings(sequences, domain, configs.geometry(options))
    sampling = configs.sampling(options, placement.n_gpus_gen)
    schedule = configs.schedule(options, max(lengths), placement.n_gpus_gen)

    generator = configs.generator(options)
    reference, why = choose_flow(configs.flow(options), placement.device)
    perceptual = None if options.no_vgg else load_perceptual_loss(options.vgg_weights).to(placement.device)
    networks = build_networks(generator, configs.discriminator(options), configs.temporal(options),
                              face=options.add_face_disc).to(placement.device)
    optimizers = build_optimizers(networks, configs.optimizer(options))
    run = RunState(batch_size=options.batchSize)
    if state:
        run = resume(folder, state, networks, optimizers).with_batches_of(options.batchSize)
    elif options.load_pretrain:
        notes += load_pretrained(networks, options.load_pretrain, options.which_epoch, options.allow_partial)
    if run.epoch > schedule.last_epoch:
        notes.append(f"all {schedule.last_epoch} epochs are done: raise --niter or --niter_decay to train on")
    if not state and not options.debug_replay:
        notes += set_aside(folder)
    announce(options, placement.reason, why, *notes)
    trainer = Trainer(
        networks, optimizers, reference, perceptual,
        config=configs.trainer(options, schedule, steps_per_epoch=len(plan_epoch(lengths, sampling, 1, 1))),
        journal=open_journal(folder, options.name, options.display_winsize, not options.no_html, options.tf_log),
        device=placement.device, show=domain.show, stop=stop_when_asked())
    if options.debug_replay:
        print(*replay(trainer, options.debug_replay), sep="\n")
        return
    annotate = None
    if reference.name == "dis":  # runs on a CPU: the loader's workers have one each
        annotate = EstimatingAnnotator(reference, PairsOf(options.n_frames_G, configs.temporal(options)))
    dataset = ClipDataset(domain, sequences, configs.geometry(options), annotate)
    desks = Desks.of(options.nThreads)
    with guarding_saves(folder), desks.naming_the_dead():
        run = trainer.fit(make_loader(dataset, batches(lengths, sampling, schedule, run), options.nThreads,
                                      pin=placement.pin_memory, desks=desks), run)
    if run.epoch <= schedule.last_epoch:
        print(f"stopped as asked; {last_saved(folder)}; go on with the same flags and --continue_train")


if __name__ == "__main__":
    with reported():
        main()
