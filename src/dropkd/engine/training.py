"""The training loop, from the first step (or the one a checkpoint stands at) to the last epoch."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from dropkd.contracts import Outputs
from dropkd.data import EvalLoader, LoadedBatch, MixedLoader, TrainLoader
from dropkd.engine.allocation import keep_freed_memory, peak_memory
from dropkd.engine.averaging import average_weights
from dropkd.engine.caching import CachedTeacher
from dropkd.engine.checkpoint import load_checkpoint, random_state, restore_random_state, save_checkpoint
from dropkd.engine.distiller import Distiller, Losses
from dropkd.engine.evaluation import Answers, answer_split, score_answers
from dropkd.engine.fabric import Fabric
from dropkd.engine.finetuning import FineTuning
from dropkd.engine.imbalance import is_imbalanced
from dropkd.engine.journal import Journal
from dropkd.engine.mixing import choose_labels, mix_batch
from dropkd.engine.observer import Observer
from dropkd.engine.optimizer import make_optimizer
from dropkd.engine.plan import ResolvedConfig
from dropkd.engine.position import Position
from dropkd.engine.qat import Qat
from dropkd.engine.schedule import Schedule
from dropkd.engine.selection import EarlyStop, find_early_stop
from dropkd.engine.sending import send
from dropkd.engine.signals import Interrupted, StopRequest
from dropkd.engine.tally import Tally
from dropkd.errors import RunError
from dropkd.files import replacing
from dropkd.models import Network, save_network

__all__ = ["Fed", "Training"]


@dataclass(frozen=True)
class Fed:
    """A batch as the networks get it, on the device.

    Args:
        images: (V * B, 3, H, W).
        target: (V * B,) or (V * B, K).
        labels: as they were loaded; under mixup ``target`` is another.
        index: (V * B,), the samples' numbers.
        soft_target: (V * B, K) under mixup, else None.
        answer: the teacher's answer, where it is known already.
    """

    images: Tensor
    target: Tensor
    labels: Tensor
    index: Tensor
    soft_target: Tensor | None
    answer: Outputs | None = None


class Training:
    """One run's training: holds all that changes, and can put it on disk and take it back.

    Args:
        config: the resolved configuration.
        folder: the run folder, which exists.
        distiller: student, method and teacher.
        finetuning: what of them is trained when, and at which rate.
        train_loader: the training images.
        val_loader: the validation images, which pick the epoch; without them the last one is kept.
        test_loader: the test images, where they are to be judged after each epoch; nothing is chosen by them.
        val_teacher: gives the teacher's answers to them, asked for once an epoch; or None.
        fabric: device and precision.
        observer: who is told.
        data_sha256: fingerprint of the training images, so that a run is not resumed on others.
        unlabelled_sha256: the same of the unlabelled images, None without any.
        cached: the teacher's answers from disk; None asks the teacher itself.
        qat: when the student is rounded; None: never.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        folder: Path,
        distiller: Distiller,
        finetuning: FineTuning,
        train_loader: TrainLoader | MixedLoader,
        val_loader: EvalLoader | None,
        test_loader: EvalLoader | None,
        val_teacher: Callable[[], Answers] | None,
        fabric: Fabric,
        observer: Observer,
        data_sha256: str,
        unlabelled_sha256: str | None = None,
        cached: CachedTeacher | None = None,
        qat: Qat | None = None,
    ) -> None:
        self.config, self.folder, self.fabric, self.observer = config, folder, fabric, observer
        self.train_loader, self.val_loader, self.val_teacher = train_loader, val_loader, val_teacher
        self.test_loader = test_loader
        self.device, self.data_sha256, self.unlabelled_sha256 = fabric.device, data_sha256, unlabelled_sha256
        self.cached, self.qat = cached, qat
        self.distiller = distiller.to(self.device)
        self.finetuning, self.optimizer = finetuning, make_optimizer(finetuning)
        self.wrapped, self.fabric_optimizer = fabric.setup(self.distiller, self.optimizer)
        self.averaged = average_weights(
            self.distiller.student, config.training.ema_decay, warms_up=config.training.ema_warmup
        )
        accumulate = config.training.accumulate
        self.updates_per_epoch = math.ceil(len(train_loader) / accumulate)
        self.schedule = self._make_schedule()
        self.total_steps = config.training.epochs * len(train_loader)
        self.log_every = max(1, len(train_loader) // 20)
        self.position = Position()
        self.tally = self._new_tally()
        # Both are put in place of where several runs are trained side by side.
        self.batches: Callable[[int, int], Iterator[LoadedBatch]] = train_loader.epoch
        self.feed: Callable[[LoadedBatch, int], Fed] = self.prepare
        self._started = 0.0
        self._stepped = 0.0
        self._saved = 0.0
        if self.device.type == "cpu":
            keep_freed_memory()

    # What the user would call the story: train an epoch, look at the validation split, keep what is good, go on.

    def steps(self, journal: Journal, stop: StopRequest) -> Iterator[None]:
        """Train until the last epoch is done, or until patience with the validation score is; yield after each step.

        Args:
            journal: where it is written down.
            stop: is asked after each step whether to go on.

        Raises:
            Interrupted: SIGTERM or Ctrl-C came; the state is on disk.
            TrainingError: a loss was not finite; the last good checkpoint is intact.
        """
        epochs, steps = self.config.training.epochs, len(self.train_loader)
        self.observer.on_start(
            title=self.config.method.name,
            epochs=epochs,
            steps_per_epoch=steps,
            first_step=self.position.epoch * steps + self.position.step,
        )
        self._saved = time.monotonic()
        self._started = self._saved - self.position.seconds
        while self.position.epoch < epochs and self.early_stop is None:
            yield from self._train_epoch(journal, stop)
            self._close_epoch(journal)
        if self.early_stop is not None:
            journal.write("stop", self.done_steps, **asdict(self.early_stop))
            self.observer.on_message(str(self.early_stop))

    def _train_epoch(self, journal: Journal, stop: StopRequest) -> Iterator[None]:
        position, accumulate = self.position, self.config.training.accumulate
        if self.qat is not None and position.epoch == self.qat.first and position.step == 0:
            self._keep_float(self.qat)
        self.start_epoch(position.epoch)
        self._stepped = time.monotonic()
        steps = len(self.train_loader)
        for batch in self.batches(position.epoch, position.step):
            losses = self._step(batch)
            position.step += 1
            if position.step % self.log_every == 0 or position.step == steps:
                self._log_step(journal, losses, len(losses.logits))
            at_update = position.step % accumulate == 0 or position.step == steps
            if at_update and position.step < steps:
                self._save_if_due(journal)
                if stop.signal_number is not None:
                    self._stop(journal, stop.signal_number)
            yield
        if stop.signal_number is not None and position.epoch + 1 < self.config.training.epochs:
            # The epoch is whole: close it first, so that resuming starts with the next one. After the last one there
            # is nothing left to stop.
            self._close_epoch(journal)
            self._stop(journal, stop.signal_number)

    def start_epoch(self, epoch: int) -> None:
        """Put student and method into the state that they are trained in during an epoch."""
        self.finetuning.start_epoch(epoch)
        if self.qat is not None:
            self.qat.start_epoch(self.distiller.student, self._networks(), epoch)

    def _networks(self) -> list[Network]:
        """Return the student, and what is judged in its place."""
        return list({id(network): network for network in (self.distiller.student, self.judged)}.values())

    def _keep_float(self, qat: Qat) -> None:
        """Keep the student as it is before it is rounded; which epoch is best is then asked of those that come."""
        qat.keep_float(self.judged, self.folder)
        self.position.best_epoch, self.position.best_val = -1, None

    def _step(self, batch: LoadedBatch) -> Losses:
        """Do a step and add it to the tally. Nothing in it waits for a GPU."""
        training, position = self.config.training, self.position
        fed = self.feed(batch, position.step)
        update, position_in_update = divmod(position.step, training.accumulate)
        is_last = position_in_update == training.accumulate - 1 or position.step == len(self.train_loader) - 1
        self.schedule.apply(self.optimizer, position.epoch * self.updates_per_epoch + update)
        losses: Losses = self.wrapped(fed.images, fed.target, fed.index, position.epoch, fed.soft_target, fed.answer)
        # The last update of an epoch may hold fewer batches; each counts by its share of that update.
        batches = min(training.accumulate, len(self.train_loader) - update * training.accumulate)
        with self.fabric.no_backward_sync(self.wrapped, enabled=not is_last):
            self.fabric.backward(losses.loss / batches)
        if is_last:
            if training.gradient_clip:
                self.fabric.clip_gradients(
                    self.wrapped,
                    self.fabric_optimizer,
                    max_norm=training.gradient_clip,
                    error_if_nonfinite=False,
                )
            self.fabric_optimizer.step()
            self.fabric_optimizer.zero_grad(set_to_none=True)
            if self.averaged is not None:
                self.averaged.update_parameters(self.distiller.student)
                if self.qat is not None:
                    self.qat.share_ends(self.distiller.student, self.judged)
        self.tally.add(losses, fed.labels, position.epoch * len(self.train_loader) + position.step)
        return losses

    def prepare(self, batch: LoadedBatch, step: int) -> Fed:
        """Return the ``step``-th batch of an epoch as the networks get it."""
        return replace(self.place(batch), answer=self.recall(batch, step))

    def place(self, batch: LoadedBatch) -> Fed:
        """Return a batch on the device, mixed, without the teacher's answer."""
        labels, index = send(batch.target, self.device), send(batch.index, self.device)
        images, target, soft_target = self._mix(batch, labels)
        return Fed(images, target, labels, index, soft_target)

    def recall(self, batch: LoadedBatch, step: int) -> Outputs | None:
        """Return the teacher's answer to a batch from disk, None where it is not there (any more)."""
        answer = None if self.cached is None else self.cached.answer(batch, step)
        return None if answer is None else answer.apply(lambda values: send(values, self.device))

    def _mix(self, batch: LoadedBatch, target: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the images on the device, mixed where that is asked for, with their labels and shares.

        Args:
            batch: as it was loaded.
            target: its labels, on the device.
        """
        training, position = self.config.training, self.position
        memory_format = torch.channels_last if training.channels_last else torch.contiguous_format
        images = send(batch.images, self.device, memory_format)
        if not (training.mixup or training.cutmix):
            return images, target, None
        # The labels as they lie in the processor's memory: who is mixed with whom must not wait for a GPU.
        images, soft_target = mix_batch(
            images, batch.target, self.distiller.student.shapes.logits, mixup=training.mixup, cutmix=training.cutmix,
            seed=self.config.seed, epoch=self.train_loader.order_of(position.epoch), step=position.step,
        )  # fmt: skip
        soft_target = send(soft_target, self.device)
        return images, choose_labels(target, soft_target), soft_target

    def _close_epoch(self, journal: Journal) -> None:
        position = self.position
        self.tally.check_finite()
        val = None
        if self.val_loader is not None:
            teacher = None if self.val_teacher is None else self.val_teacher()
            val = score_answers(self.answer(self.judged, self.val_loader), teacher)
        is_best = position.prefers(val, self.config.training.select_by)
        if is_best:
            position.best_epoch, position.best_val = position.epoch, val
            save_network(self.judged, self.folder / "student.safetensors")
        position.last_val = val
        test = None if self.test_loader is None else score_answers(self.answer(self.judged, self.test_loader))
        position.seconds = time.monotonic() - self._started
        record = {
            "epoch": position.epoch, "seconds": position.seconds, "train": self.tally.summary(), "val": val,
            "best": is_best, "lr": self.rate, "imbalanced": is_imbalanced(self.train_loader.split),
            "probe": position.epoch < self.config.finetune.probe_epochs, "peak_memory": peak_memory(self.device),
            **({} if test is None else {"test": test}),
        }  # fmt: skip
        journal.write("epoch", (position.epoch + 1) * len(self.train_loader), **record)
        self._note_label_changes(journal)
        for name in self.tally.flat_terms():
            when = f"in every step of epoch {position.epoch + 1}"
            said = f"The term {name!r} was 0 {when}: it teaches the student nothing."
            journal.write("warning", text=said)
            self.observer.on_warning(said)
        position.epoch, position.step = position.epoch + 1, 0
        self.tally = self._new_tally()
        self.save(journal)
        if is_best:
            with replacing(self.folder / "best.ckpt") as partial:
                shutil.copyfile(self.folder / "last.ckpt", partial)
        self.observer.on_epoch(record)

    def _note_label_changes(self, journal: Journal) -> None:
        """Let the method close the epoch, and write down which training samples it has given another class."""
        changes = self.distiller.method.end_epoch(self.position.epoch)
        if changes:
            columns = {name: [getattr(c, name) for c in changes] for name in ("index", "before", "after")}
            step = (self.position.epoch + 1) * len(self.train_loader)
            journal.write("relabel", step, epoch=self.position.epoch, **columns)

    def _log_step(self, journal: Journal, losses: Losses, images: int) -> None:
        self.tally.check_finite()
        position, now = self.position, time.monotonic()
        step = position.epoch * len(self.train_loader) + position.step
        raw = torch.stack([losses.raw[n].detach().float() for n in self.tally.terms]).tolist()
        weighted = torch.stack([losses.weighted[n].detach().float() for n in self.tally.terms]).tolist()
        terms = {n: {"raw": raw[i], "weighted": weighted[i]} for i, n in enumerate(self.tally.terms)}
        steps = (position.step - 1) % self.log_every + 1
        rate = steps * images / max(1e-9, now - self._stepped)
        self._stepped = now
        journal.write(
            "step", step, epoch=position.epoch, total_steps=self.total_steps, lr=self.rate, loss=sum(weighted),
            terms=terms, seconds=now - self._started, images_per_second=rate,
        )  # fmt: skip
        self.observer.on_step(
            epoch=position.epoch,
            step=step,
            total_steps=self.total_steps,
            loss=sum(weighted),
            images_per_second=rate,
        )

    def let_pass(self, seconds: float) -> None:
        """Leave out a span of time in which others had their turn."""
        if self._started:
            self._started += seconds
            self._stepped += seconds

    # What is on disk.

    def _save_if_due(self, journal: Journal) -> None:
        if time.monotonic() - self._saved >= 60 * self.config.training.checkpoint_minutes:
            self.tally.check_finite()
            self.save(journal)

    def _stop(self, journal: Journal, signal_number: int) -> None:
        self.tally.check_finite()
        self.save(journal)
        if self.position.best_epoch < 0:
            save_network(self.judged, self.folder / "student.safetensors")
        steps, epochs = len(self.train_loader), self.config.training.epochs
        where = f"in epoch {self.position.epoch + 1} of {epochs} after {self.position.step} of its {steps} steps"
        raise Interrupted(signal_number, where, self.folder)

    def save(self, journal: Journal) -> None:
        """Write ``last.ckpt``."""
        self.position.seconds = time.monotonic() - self._started if self._started else 0.0
        content = {
            "position": asdict(self.position),
            "distiller": self.distiller.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged is not None else None,
            "precision": self.fabric._precision.state_dict(),
            "tally": self.tally.state_dict(),
            "random": random_state(),
            "journal_size": journal.size,
            "data_sha256": self.data_sha256,
            "unlabelled_sha256": self.unlabelled_sha256,
        }
        save_checkpoint(self.folder / "last.ckpt", content)
        self._saved = time.monotonic()

    def restore(self) -> int:
        """Take everything back from ``last.ckpt``; return the size that the journal had then.

        Raises:
            RunError: there is no checkpoint, it can't be read, or the training images have changed since.
        """
        content = load_checkpoint(self.folder / "last.ckpt")
        for kind, own in (("training", self.data_sha256), ("unlabelled", self.unlabelled_sha256)):
            if own != content["data_sha256" if kind == "training" else "unlabelled_sha256"]:
                raise RunError(
                    f"The {kind} images are no longer those that {str(self.folder)!r} was started with: files were "
                    "added, removed, renamed or changed. Put them back, or start a new run."
                )
        self.position = Position(**content["position"])
        self.distiller.load_state_dict(content["distiller"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.averaged is not None:
            self.averaged.load_state_dict(content["averaged"])
        self.fabric._precision.load_state_dict(content["precision"])
        self.tally.load_state_dict(content["tally"])
        restore_random_state(content["random"])
        if self.qat is not None:
            self.qat.switch(self._networks(), self.position.epoch)
        return int(content["journal_size"])

    # Small parts.

    @property
    def early_stop(self) -> EarlyStop | None:
        """Why training ends where it stands; None while it goes on, or where its last epoch is done."""
        training, position = self.config.training, self.position
        return find_early_stop(
            position.epoch,
            training.epochs,
            position.best_epoch,
            position.best_val,
            training.select_by,
            training.patience,
            counted_from=max(
                self.config.finetune.probe_epochs,
                self.config.finetune.unfreeze_epoch or 0,
                0 if self.qat is None else self.qat.first,
            ),
        )

    @property
    def rate(self) -> float:
        """The learning rate of the last step; where parts have their own, the highest of them."""
        return max(float(group["lr"]) for group in self.optimizer.param_groups)

    @property
    def done_steps(self) -> int:
        """Steps that are done, over the whole run."""
        return self.position.epoch * len(self.train_loader) + self.position.step

    @property
    def judged(self) -> Network:
        """The network that validation judges and the run keeps: the moving average where there is one."""
        if self.averaged is None:
            return self.distiller.student
        return cast(Network, self.averaged.module)

    def answer(self, network: Network, loader: EvalLoader) -> Answers:
        """Return a network's answers to a split, in the run's precision."""
        with self.fabric.autocast():
            return answer_split(network, loader, self.device)

    def _make_schedule(self) -> Schedule:
        training = self.config.training
        return Schedule(
            kind=training.schedule,
            total_steps=training.epochs * self.updates_per_epoch,
            steps_per_epoch=self.updates_per_epoch,
            warmup_steps=round(training.warmup_epochs * self.updates_per_epoch),
            milestones=tuple(training.milestones),
            decay_factor=training.decay_factor,
            probe_steps=self.config.finetune.probe_epochs * self.updates_per_epoch,
            final_factor=training.final_lr / training.lr,
        )

    def _new_tally(self) -> Tally:
        terms = ["cross_entropy", *sorted(self.distiller.method.active)]
        return Tally(terms, self.device, self.distiller.multi_label)
