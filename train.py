"""Learn to turn label maps, face edges or poses into video: `python train.py --help`."""

from __future__ import annotations

from models.flow import choose_flow
from models.networks import build_optimizers
from models.perceptual import load_perceptual_loss
from models.replay import replay
from models.saving import guarding_saves, last_saved, read_state
from options import configs
from options.assembly import begin, evaluator, keep_appearances, open_footage, opened_clips
from options.methods import METHODS
from options.parsing import announce
from options.stored import differing
from options.train import parse_train, training_parser
from util.errors import reported
from util.journal import open_journal
from util.placement import place
from util.seeds import seed_everything
from util.signals import stop_when_asked


def main() -> None:
    options = parse_train()
    method, folder, placement = METHODS[options.model], configs.run_folder(options), place(options.gpu_ids)
    seed_everything(options.seed)
    state = read_state(folder) if options.continue_train else None
    changes = differing(state["options"], options) if state else []
    footage = open_footage(options, placement)
    reference, why = choose_flow(configs.flow(options), placement.device)
    perceptual = None if options.no_vgg else load_perceptual_loss(options.vgg_weights).to(placement.device)
    networks = method.networks(options).to(placement.device)
    optimizers = build_optimizers(networks, configs.optimizer(options))
    with guarding_saves(folder):
        run, notes = begin(options, state, networks, optimizers, footage.schedule)
        announce(options, training_parser(), folder, [placement.reason, footage.checked, why, *changes, *notes])
    trainer = method.trainer(
        networks, optimizers, reference, perceptual,
        config=configs.trainer(options, footage.schedule, steps_per_epoch=len(footage.epoch(1))),
        journal=open_journal(folder, options.name, options.display_winsize, not options.no_html, options.tf_log),
        device=placement.device, show=footage.domain.show,
        evaluate=evaluator(options, footage.domain, networks, reference, placement), stop=stop_when_asked())
    if options.debug_replay:
        print(*replay(trainer, options.debug_replay), sep="\n")
        return
    with guarding_saves(folder), opened_clips(options, footage, reference, run, placement) as clips:
        run = trainer.fit(clips, run)
    if run.epoch > footage.schedule.last_epoch:
        keep_appearances(options, footage, networks, placement)
    else:
        print(f"stopped as asked; {last_saved(folder)}; go on with the same flags and --continue_train")


if __name__ == "__main__":
    with reported():
        main()
