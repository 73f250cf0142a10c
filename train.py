"""Train vid2vid on label maps, face edges or poses: `python train.py --help`."""

from __future__ import annotations

from models.flow import build_flow_estimator
from models.networks.collection import build_optimizers
from models.training.dry_run import dry_run
from models.training.replay import replay_step
from models.training.resume import (
    describe_last_checkpoint,
    read_training_state,
    write_errors_explained,
)
from options import configs
from options.build import (
    build_evaluator,
    build_forward,
    build_trainer,
    build_training_data,
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


def main() -> None:
    """Train as the command line says."""
    opt = parse_train()
    folder = configs.run_folder(opt)
    device_setup = setup_devices(configs.device_config(opt))
    is_main_process = device_setup.process_group.is_main_process
    seed_everything(opt.seed)
    state = read_training_state(folder) if opt.continue_train else None
    changed_options = describe_changed_options(state["options"], opt) if state else []

    data = build_training_data(opt, device_setup)
    flow_estimator, flow_summary = build_flow_estimator(
        configs.flow_config(opt), device_setup.device
    )
    networks = MODEL_REGISTRY[opt.model].build_networks(opt)
    networks.to(device_setup.device, device_setup.precision.memory_format)
    condition_to_image = data.frame_reader.condition_to_image
    forward = build_forward(opt, networks, flow_estimator, condition_to_image, device_setup)
    optimizers = device_setup.wrap_optimizers(
        build_optimizers(networks, configs.optimizer_config(opt)), opt.grad_clip
    )

    with write_errors_explained(folder):
        run, notes = initialize_run(opt, state, networks, optimizers, data, device_setup)
        print_and_save_options(
            opt,
            build_train_parser(),
            [
                device_setup.summary,
                data.check_summary,
                flow_summary,
                *changed_options,
                *notes,
            ],
            folder=None if opt.dry_run else folder,
            is_main_process=is_main_process,
        )

    evaluate = build_evaluator(opt, data.frame_reader, networks, flow_estimator, device_setup)
    trainer = build_trainer(opt, networks, optimizers, forward, data, evaluate, device_setup)
    if opt.debug_replay:
        print(*replay_step(trainer, opt.debug_replay), sep="\n")
        return

    with (
        write_errors_explained(folder),
        explain_out_of_memory(list_oom_hints(opt)),
        training_loader(opt, data, flow_estimator, run, device_setup) as clips,
    ):
        if opt.dry_run:
            print(dry_run(trainer, next(clips)))
            return
        run = trainer.fit(clips, run)

    if not is_main_process:
        return
    if run.epoch > data.schedule.last_epoch:
        save_instance_features(opt, data, networks, device_setup)
    else:
        print(
            f"stopped as requested; {describe_last_checkpoint(folder)}; resume with the same flags "
            "and --continue_train"
        )


if __name__ == "__main__":
    with exit_on_user_error():
        main()
