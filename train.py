"""Learn to turn label maps, face edges or poses into video: `python train.py --help`."""

from __future__ import annotations

from models.flow import build_flow_estimator
from models.networks.collection import build_optimizers
from models.training.replay import replay_step
from models.training.resume import (
    describe_last_checkpoint,
    read_training_state,
    write_errors_explained,
)
from options import configs
from options.build import (
    build_evaluator,
    build_logger,
    build_training_data,
    distribute_networks,
    initialize_run,
    save_instance_features,
    training_loader,
)
from options.oom_hints import list_oom_hints
from options.opt_file import describe_changed_options
from options.parsing import print_and_save_options
from options.registry import MODEL_REGISTRY
from options.train import build_train_parser, parse_train
from util.distributed import setup_devices
from util.distributed.memory import explain_out_of_memory
from util.errors import exit_on_user_error
from util.runtime.random_state import seed_everything
from util.runtime.signals import make_graceful_stop_event


def main() -> None:
    options = parse_train()
    method, folder, placement = (
        MODEL_REGISTRY[options.model],
        configs.run_folder(options),
        setup_devices(configs.device_config(options)),
    )
    seed_everything(options.seed)
    state = read_training_state(folder) if options.continue_train else None
    changes = describe_changed_options(state["options"], options) if state else []
    footage = build_training_data(options, placement)
    reference, why = build_flow_estimator(configs.flow_config(options), placement.device)
    networks = method.build_networks(options).to(
        placement.device, placement.precision.memory_format
    )
    teams = distribute_networks(options, networks, reference, placement)
    optimizers = placement.wrap_optimizers(
        build_optimizers(networks, configs.optimizer_config(options)), options.grad_clip
    )
    with write_errors_explained(folder):
        run, notes = initialize_run(options, state, networks, optimizers, footage, placement)
        print_and_save_options(
            options,
            build_train_parser(),
            [placement.summary, footage.check_summary, why, *changes, *notes],
            folder=None if options.dry_run else folder,
            is_main_process=placement.process_group.is_main_process,
        )
    trainer = method.trainer_class(
        networks,
        optimizers,
        teams,
        placement,
        config=configs.trainer_config(
            options, footage.schedule, steps_per_epoch=len(footage.epoch_batches(1))
        ),
        logger=build_logger(options, placement),
        condition_to_image=footage.frame_reader.condition_to_image,
        evaluate=build_evaluator(options, footage.frame_reader, networks, reference, placement),
        stop_event=make_graceful_stop_event(),
    )
    if options.debug_replay:
        print(*replay_step(trainer, options.debug_replay), sep="\n")
        return
    with (
        write_errors_explained(folder),
        explain_out_of_memory(list_oom_hints(options)),
        training_loader(options, footage, reference, run, placement) as clips,
    ):
        if options.dry_run:
            print(trainer.dry_run(next(clips)))
            return
        run = trainer.fit(clips, run)
    if placement.process_group.is_main_process and run.epoch > footage.schedule.last_epoch:
        save_instance_features(options, footage, networks, placement)
    elif placement.process_group.is_main_process:
        print(
            f"stopped as asked; {describe_last_checkpoint(folder)}; go on with the same flags and --continue_train"
        )


if __name__ == "__main__":
    with exit_on_user_error():
        main()
