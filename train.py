"""Learn to turn label maps, face edges or poses into video: `python train.py --help`."""

from __future__ import annotations

from models.flow import choose_flow
from models.networks import build_optimizers
from models.replay import replay
from models.saving import guarding_saves, last_saved, read_state
from options import configs
from options.advice import memory_knobs
from options.assembly import begin, build_journal, evaluator, keep_appearances, open_clips, open_footage, team_up
from options.methods import METHODS
from options.parsing import announce
from options.stored import differing
from options.train import parse_train, training_parser
from util.errors import reported
from util.placement import place
from util.placement.memory import explaining_exhaustion
from util.seeds import seed_everything
from util.signals import stop_when_asked


def main() -> None:
    options = parse_train()
    method, folder, placement = METHODS[options.model], configs.run_folder(options), place(configs.placement(options))
    seed_everything(options.seed)
    state = read_state(folder) if options.continue_train else None
    changes = differing(state["options"], options) if state else []
    footage = open_footage(options, placement)
    reference, why = choose_flow(configs.flow(options), placement.device)
    networks = method.networks(options).to(placement.device, placement.precision.layout)
    teams = team_up(options, networks, reference, placement)
    optimizers = placement.steppers(build_optimizers(networks, configs.optimizer(options)), options.grad_clip)
    with guarding_saves(folder):
        run, notes = begin(options, state, networks, optimizers, footage, placement)
        announce(options, training_parser(), [placement.reason, footage.checked, why, *changes, *notes],
                 folder=None if options.dry_run else folder, aloud=placement.processes.leads)
    trainer = method.trainer(
        networks, optimizers, teams, placement,
        config=configs.trainer(options, footage.schedule, steps_per_epoch=len(footage.epoch(1))),
        journal=build_journal(options, placement), show=footage.domain.show,
        evaluate=evaluator(options, footage.domain, networks, reference, placement), stop=stop_when_asked())
    if options.debug_replay:
        print(*replay(trainer, options.debug_replay), sep="\n")
        return
    with (guarding_saves(folder), explaining_exhaustion(memory_knobs(options)),
          open_clips(options, footage, reference, run, placement) as clips):
        if options.dry_run:
            print(trainer.rehearse(next(clips)))
            return
        run = trainer.fit(clips, run)
    if placement.processes.leads and run.epoch > footage.schedule.last_epoch:
        keep_appearances(options, footage, networks, placement)
    elif placement.processes.leads:
        print(f"stopped as asked; {last_saved(folder)}; go on with the same flags and --continue_train")


if __name__ == "__main__":
    with reported():
        main()
