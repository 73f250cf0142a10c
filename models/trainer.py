"""Training, to be read from top to bottom: run, clip, window, step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from models.appearance import encoded
from models.conditions import ConditionConfig, pad_clip
from models.distillation import teach
from models.flow.reference import reference_flow
from models.guard import NotFinite, check_gradients, checked_losses
from models.networks import Networks, player_of, set_learning_rates
from models.objectives import (
    ObjectiveConfig,
    Terms,
    Window,
    face_terms,
    mean_of,
    sum_of,
    temporal_terms,
)
from models.replay import Moment, save_moment
from models.rollout import History, RolloutConfig, rollout_in_turn
from models.saving import RunState, drop_epochs, save_epoch, save_latest
from models.schedule import Phase, ScheduleConfig, phase_at
from models.teams import Past, Share, Team, Teams, picture_terms
from models.temporal import FrameGroups, Memory, SeenFrame, TemporalConfig, group_frames, neighbours
from models.visuals import visuals
from models.watch import Watch, signs, spreads
from util.clip import Clip, Flow
from util.errors import UserError
from util.journal import Journal
from util.placement import Placement
from util.placement.stepping import Stepper

Players = dict[str, Terms]  # "D" (single pictures, motion, faces), "D_T0", ...: what was computed beside each
SHOWN = ("G_GAN", "G_GAN_Feat", "D_real", "G_Labels")  # losses beside the progress bar, of those that there are


@dataclass(frozen=True)
class TrainerConfig:
    """steps_per_epoch: batches. begin_with_zeros: `no_first_img`, the network paints the first pictures itself.
    save_latest_freq, print_freq, display_freq: in clips; save_epoch_freq, eval_freq: in epochs. keep: epochs whose
    weights stay, None for all. ema: half-life of the averaged generator in steps, None for none."""

    conditions: ConditionConfig
    objectives: ObjectiveConfig
    temporal: TemporalConfig
    schedule: ScheduleConfig
    steps_per_epoch: int
    begin_with_zeros: bool
    size_multiple: int
    folder: Path
    options: Mapping[str, str]
    print_freq: int = 100
    display_freq: int = 100
    save_latest_freq: int = 1000
    save_epoch_freq: int = 1
    keep: int | None = None
    eval_freq: int = 0
    ema: float | None = None


@dataclass(frozen=True)
class Seen:
    """What a team makes of a window: how it looks, its terms before the step, and what the next window needs."""

    window: Window
    players: Players
    past: Past


@dataclass(frozen=True)
class Trained:
    """Of one window: its losses before its step, how far its pixels spread (see `spreads`), and what its first clip
    looked like."""

    losses: dict[str, float]
    spread: Sequence[float]
    clip: Clip
    window: Window


@dataclass(frozen=True)
class Trainer:
    """journal: None in processes that do not lead. show: a condition (C, H, W), as read, as a picture. evaluate:
    figures of the networks as they stand, `best_by` among them, on held-out clips; None with eval_freq 0. stop: set by
    whoever wants the run to save and end after its step."""

    networks: Networks
    optimizers: dict[str, Stepper]
    teams: Teams
    placement: Placement
    config: TrainerConfig
    journal: Journal | None
    show: Callable[[Tensor], np.ndarray]
    evaluate: Callable[[], Mapping[str, float]] | None = None
    stop: Event = field(default_factory=Event)
    watch: Watch = field(default_factory=Watch)
    best_by: ClassVar[str] = "ssim"  # the figure, the higher the better, by which weights are the best so far

    # the run

    def fit(self, clips: Iterator[Clip], run: RunState) -> RunState:
        """Trains from `run` to the last epoch, or until `stop`; returns where the run then stands, saved.
        clips: the batches from there on, in order."""
        while run.epoch <= self.config.schedule.last_epoch and not self.asked_to_stop():
            phase = phase_at(run.epoch, self.config.schedule)
            set_learning_rates(self.optimizers, phase.lr_factor)
            run = self.train_epoch(clips, run, phase)
            if run.step >= self.config.steps_per_epoch:
                run = self.end_epoch(run)
        self.save(run)
        return run

    def end_epoch(self, run: RunState) -> RunState:
        """Its figures, weights and state, as far as it is their turn; the start of the next."""
        if self.evaluate is not None and run.epoch % self.config.eval_freq == 0:
            run = self.assess(run, self.evaluate())
        following = replace(run, epoch=run.epoch + 1, step=0)
        if run.epoch % self.config.save_epoch_freq == 0:
            self.save(following, str(run.epoch))
        return following

    def asked_to_stop(self) -> bool:
        """All processes stop after the same step, whichever was asked."""
        return self.placement.processes.anywhere(self.stop.is_set(), self.placement.device)

    def train_epoch(self, clips: Iterator[Clip], run: RunState, phase: Phase) -> RunState:
        """The rest of an epoch, batch by batch, as far as `stop` lets it; returns where the run then stands."""
        steps = self.config.steps_per_epoch
        with tqdm(total=steps, initial=run.step, desc=f"epoch {run.epoch}/{self.config.schedule.last_epoch}",
                  unit="batch", dynamic_ncols=True, disable=self.journal is None) as bar:
            for step in range(run.step, steps):
                if self.asked_to_stop():
                    break
                began = time.perf_counter()
                trained = self.train_clip(next(clips), phase)
                run = replace(run, step=step + 1)
                self.record(run, trained, (time.perf_counter() - began) / run.batch_size)
                bar.set_postfix({name: f"{trained.losses[name]:.2f}" for name in SHOWN if name in trained.losses})
                bar.update()
                if self.due(run, self.config.save_latest_freq):
                    self.save(run)
        return run

    def rehearse(self, batch: Clip) -> str:
        """`--dry_run`: all windows of a batch of the run's longest clips, and what they cost, in words."""
        began = time.perf_counter()
        self.train_clip(batch, phase_at(self.config.schedule.last_epoch, self.config.schedule))
        seconds, windows = time.perf_counter() - began, (len(batch) - self.config.schedule.n_frames_G + 1) // batch.load
        peaks = ", ".join(f"{device} {gib:.2f} GiB" for device, gib in self.placement.peak_memory().items())
        height, width = batch.condition.shape[-2:]
        return (f"dry run: {windows} steps of {batch.load} frames, {len(batch.names)} clips, {width}x{height}: "
                f"{seconds / windows:.2f} s a step, peak memory {peaks}; nothing was saved")

    # a clip

    def train_clip(self, batch: Clip, phase: Phase) -> Trained:
        """All windows of a batch of clips, each followed by a step; every team keeps the past of its own clips."""
        batch = pad_clip(batch, self.config.size_multiple)
        shares = self.teams.share(batch)
        pasts = [Past(None, Memory.empty(self.config.temporal)) for _ in shares]
        windows = zip(*(share.clip.windows(self.config.schedule.n_frames_G) for share in shares), strict=True)
        for number, parts in enumerate(windows):
            start = number * batch.load
            try:
                trained, pasts = self.train_window(shares, parts, start, phase, pasts)
            except NotFinite as fault:
                raise self.stopped_by(fault, parts, Moment(phase.epoch, start, batch, Past.join(pasts))) from None
        return trained

    def train_window(self, shares: Sequence[Share], windows: Sequence[Clip], start: int, phase: Phase,
                     pasts: Sequence[Past]) -> tuple[Trained, list[Past]]:
        """windows: of each share's clips. start: number of the window's first generated frame in the clip."""
        self.teams.replicas.send_out()
        seen = [self.see(share, window, start, phase, past)
                for share, window, past in zip(shares, windows, pasts, strict=True)]
        players = {player: mean_of([(part.players[player], share.weight)
                                    for part, share in zip(seen, shares, strict=True)], self.placement.device)
                   for player in seen[0].players}
        losses, spread = self.update(players, spreads(seen[0].window), phase)
        return Trained(losses, spread, windows[0], seen[0].window), [part.past for part in seen]

    # a window

    def see(self, share: Share, window: Clip, start: int, phase: Phase, past: Past) -> Seen:
        """What a team makes of its clips."""
        team, clip = share.team, share.clip
        with self.placement.precision.autocast():
            window = window.to(team.device)
            view, history = self.generate(team, clip, window, start, phase, past.history)
            view, taught = self.teach(team, window, view, past.taught)
            new = {start + i: SeenFrame(view.real[:, i], view.frames.picture[:, i], view.reference.flow[:, i])
                   for i in range(clip.load)}
            groups, memory = group_frames(past.memory, new, self.config.temporal)
            return Seen(view, self.judge(team, clip, view, groups), Past(history, memory, taught))

    def generate(self, team: Team, clip: Clip, window: Clip, start: int, phase: Phase,
                 history: History | None) -> tuple[Window, History]:
        """The window as the generators paint it, beside the real one and how that moved."""
        real, past = window.picture, self.config.schedule.n_frames_G - 1
        assert real is not None
        condition = self.config.conditions.encode(window.frames(past, len(window)))
        first = history is None
        history = history or self.begin(real, len(self.networks.generator))
        newest = real[:, past - 1] if first else history.pictures[0][:, -1]
        features = None if team.encoder is None else encoded(team.encoder, window)
        seen = self.config.conditions.see(window, features)
        frames, history = rollout_in_turn(team.generators, seen, history, RolloutConfig(
            n_frames=past + 1, backpropagate=phase.backpropagate, train_coarse=phase.train_coarse,
            raw_first=clip.load if first and self.config.begin_with_zeros else 0))
        view = Window(
            condition=condition, real=real[:, past:], real_before=real[:, past - 1:-1], frames=frames,
            fake_before=torch.cat([newest.unsqueeze(1), frames.picture[:, :-1]], dim=1).detach(),
            reference=self.flow_between(team, clip, [(n, n - 1) for n in range(start, start + clip.load)],
                                        real[:, past:], real[:, past - 1:-1]))
        return view, history

    def begin(self, real: Tensor, scales: int) -> History:
        """What comes before a clip's first window, of its real pictures."""
        first = real[:, :self.config.schedule.n_frames_G - 1]
        return History.begin(torch.zeros_like(first) if self.config.begin_with_zeros else first, scales)

    def teach(self, team: Team, window: Clip, view: Window, history: History | None) -> tuple[Window, History | None]:
        """The window with the teacher's pictures, from those that it painted before; without a teacher as it is."""
        if team.teacher is None:
            return view, None
        assert window.picture is not None
        raw_first = len(view) if history is None and self.config.begin_with_zeros else 0
        taught, history = teach(team.teacher, self.config.conditions.see(window),
                                history or self.begin(window.picture, len(team.teacher)),
                                RolloutConfig(self.config.schedule.n_frames_G, raw_first=raw_first))
        return replace(view, taught=taught), history

    def flow_between(self, team: Team, clip: Clip, pairs: list[tuple[int, int]], current: Tensor,
                     previous: Tensor) -> Flow:
        """Reference flow of (B, P, 3, H, W) pictures, the loader's where it has it. pairs: of generated frames."""
        past = self.config.schedule.n_frames_G - 1
        known = clip.known_flow([(a + past, b + past) for a, b in pairs])
        with self.placement.precision.full():
            return reference_flow(team.reference, current, previous, known)

    def judge(self, team: Team, clip: Clip, window: Window, groups: list[FrameGroups | None]) -> Players:
        """All terms of the window, none of them stepped on yet."""
        config = self.config.objectives
        terms = mean_of([(picture_terms(judge, part, config), share)
                         for judge, part, share in team.share_frames(window)], team.device)
        if (face := team.judges[0].networks.face) is not None:  # one box for the whole window
            terms |= face_terms(face, window.to(team.judges[0].device), config).to(team.device)
        found = {scale: group for scale, group in enumerate(groups) if group is not None}
        return {"D": terms} | {f"D_T{scale}": self.judge_groups(team, clip, group, scale).named(scale)
                               for scale, group in found.items()}

    def judge_groups(self, team: Team, clip: Clip, groups: FrameGroups, scale: int) -> Terms:
        """The terms of one temporal scale."""
        flow = self.group_flow(team, clip, groups, scale)
        return mean_of([(temporal_terms(judge.networks.temporal[scale], part, motion, self.config.objectives), share)
                        for judge, part, motion, share in team.share_groups(groups, flow, scale)], team.device)

    def group_flow(self, team: Team, clip: Clip, groups: FrameGroups, scale: int) -> Tensor:
        """Flow inside temporal groups (B, G, tD-1, 2, H, W): each frame's own, or, where dense groups stride, anew."""
        if scale == 0 or self.config.temporal.sparse:
            return groups.flow
        pairs = [pair for group in groups.numbers for pair in neighbours(group)]
        current, previous = (part.flatten(1, 2) for part in (groups.real[:, :, 1:], groups.real[:, :, :-1]))
        flow = self.flow_between(team, clip, pairs, current, previous).flow
        return flow.unflatten(1, (len(groups.numbers), -1))

    # a step

    def update(self, players: Players, beside: Tensor, phase: Phase) -> tuple[dict[str, float], list[float]]:
        """One step of G, D and every D_T that had groups, on gradients computed before any of them moved; returns what
        `checked_losses` does. NotFinite: no step was made."""
        losses, told = checked_losses(players, beside, self.placement.processes)
        self.backward("G", sum_of(t for terms in players.values() for t in terms.generator.values()), phase)
        judges = {player: terms.discriminator for player, terms in players.items() if terms.discriminator}
        for player, losing in judges.items():
            self.backward(player, sum_of(losing.values()) / 2, phase)
        if not self.placement.precision.scales:
            check_gradients(self.networks, losses)
        for player in ("G", *judges):
            self.optimizers[player].step()
        self.teams.replicas.keep_statistics()
        if self.config.ema is not None:
            self.networks.update_average(self.config.ema)
        return losses, told

    def backward(self, player: str, loss: Tensor, phase: Phase) -> None:
        """Gradients to the weights of one player alone, though the graph holds them all; home from every replica and
        process."""
        optimizer, replicas = self.optimizers[player], self.teams.replicas
        names = [name for name in self.networks.learning() if player_of(name) == player]
        if player == "G" and not phase.train_coarse:
            names = [f"G{len(self.networks.generator) - 1}"]
        optimizer.zero_grad()
        optimizer.backward(loss, [weight for name in names for weight in replicas.weights(name)])
        replicas.bring_home(names)
        self.placement.processes.average_gradients([replicas.masters[name] for name in names])
        optimizer.unscale()

    # what people see

    def record(self, run: RunState, trained: Trained, seconds: float) -> None:
        """Warnings, and losses and pictures when their turn has come; one process tells for all."""
        if self.journal is None:
            return
        for line in self.watch.see(signs(trained.losses, trained.spread, self.config.objectives)):
            self.journal.warning(run.epoch, run.clips, line)
        if self.due(run, self.config.print_freq):
            self.journal.losses(run.epoch, run.clips, self.total_clips(run), seconds, trained.losses)
        if self.due(run, self.config.display_freq):
            self.journal.pictures(run.epoch, self.total_clips(run), self.pictures(trained))

    def pictures(self, trained: Trained) -> dict[str, np.ndarray]:
        return {"condition": self.show(trained.clip.condition[0, -1].cpu()), **visuals(trained.window)}

    def assess(self, run: RunState, figures: Mapping[str, float]) -> RunState:
        """Tells how good the networks are on held-out clips, and keeps them as `best` where they never were better."""
        if self.journal is not None:
            self.journal.figures(run.epoch, self.total_clips(run), figures)
        if figures[self.best_by] <= run.best:
            return run
        if self.placement.processes.leads:
            save_epoch(self.config.folder, "best", self.networks)
        return replace(run, best=figures[self.best_by])

    def total_clips(self, run: RunState) -> int:
        """Since the run began."""
        return (run.epoch - 1) * self.config.steps_per_epoch * run.batch_size + run.clips

    def due(self, run: RunState, every: int) -> bool:
        return self.total_clips(run) % math.lcm(every, run.batch_size) == 0

    def save(self, run: RunState, epoch: str | None = None) -> None:
        """The state to go on from; the weights under the name of an epoch too."""
        if not self.placement.processes.leads:
            return
        if epoch is not None:
            save_epoch(self.config.folder, epoch, self.networks)
            if self.config.keep is not None:
                drop_epochs(self.config.folder, self.config.keep)
        save_latest(self.config.folder, self.networks, self.optimizers, run, self.config.options)

    def stopped_by(self, fault: NotFinite, windows: Sequence[Clip], moment: Moment) -> UserError:
        """What to tell, once everything that the step was computed from is kept."""
        path = self.config.folder / "not_finite.pth"
        if self.placement.processes.leads:
            save_moment(path, moment, self.networks, self.config.options)
        frames = "; ".join(", ".join(names) for window in windows for names in window.names)
        return UserError(f"training stopped before the step: {fault}, on {frames}: look at these frames, repeat the "
                         f"step with the same flags and --debug_replay {path}, or go on from the last save "
                         "(--continue_train) with a smaller --lr")
