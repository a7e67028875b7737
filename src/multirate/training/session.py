"""The state of one run and what can be done with it: a step, a line of metrics, a checkpoint."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from multirate.data.source import Source
from multirate.errors import DivergenceError, TrainingError
from multirate.seeding import generator, seed_globally
from multirate.training import checkpoint
from multirate.training.clock import Clock
from multirate.training.config import TrainConfig, examples_a_step
from multirate.training.finite import REMEDY, Watch, about_batch, first_row_not_finite
from multirate.training.folder import RunFolder
from multirate.training.noise import noise_of_step
from multirate.training.objective import (
    ModelObjective,
    draw_betas,
    draw_step_betas,
    objective_for,
    one_beta_a_step,
)
from multirate.training.optimizer import optimizer_for, response_learning_rate
from multirate.training.schedules import halvings, kl_weight, learning_rate_factor, warmup_steps
from multirate.training.spectral import SpectralPenalty
from multirate.training.validation import measure
from multirate.wrapper import MultiRate

if TYPE_CHECKING:
    from accelerate import Accelerator


class Session:
    """One run under way.

    Args:
        model: plain or multi-rate; moved to the device and trained in place.
        source: training data.
        validation: data measured after each epoch, or None.
        config: of the run.
        folder: of the run; one without a path keeps nothing.
        accelerator: of the run.

    Raises:
        UsageError: if there is nothing to train or to train on, or the batch does not divide among the processes.
    """

    def __init__(
        self,
        model: nn.Module,
        source: Source,
        validation: Source | None,
        config: TrainConfig,
        folder: RunFolder,
        accelerator: Accelerator,
    ) -> None:
        self.model = model.to(accelerator.device)
        self.source = source
        self.validation = validation
        self.config = config
        self.folder = folder
        self.accelerator = accelerator
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.validation_history: list[dict[str, Any]] = []
        self.whole = True
        self.batch_size = examples_a_step(config, len(source), accelerator.num_processes)
        self.steps_per_epoch = len(source) // self.batch_size
        self.steps = config.epochs * self.steps_per_epoch
        self._warmup = warmup_steps(config, self.steps)
        self._window: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._order: tuple[int, Tensor] | None = None
        self._last_checkpoint: str | None = None
        self.clock = Clock()
        if config.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from torch's stubs
        optimizer = optimizer_for(model, config)
        self._learning_rates = [group["lr"] for group in optimizer.param_groups]
        self._halvings = 0
        self._dtype = next(p.dtype for p in model.parameters() if p.is_floating_point())
        self._beta_dtype = torch.promote_types(self._dtype, torch.float32)
        objective = objective_for(config, len(source))
        self._one_beta = one_beta_a_step(model, objective)
        module: nn.Module = ModelObjective(self.model, objective)
        if config.compile:
            module.compile()
        self._module, self._optimizer = accelerator.prepare(module, optimizer)
        self._watch = Watch(self.model, optimizer)
        self._spectral: SpectralPenalty | None = None
        if config.spectral_regularization:
            base = model.base if isinstance(model, MultiRate) else model
            self._spectral = SpectralPenalty(base, config.seed)

    @property
    def epoch(self) -> int:
        """The epoch, from 1, that the last step belongs to."""
        return max(0, self.step - 1) // self.steps_per_epoch + 1

    @property
    def seconds(self) -> float:
        """Seconds of training so far, over all resumptions."""
        return self.clock.seconds

    def resolved(self) -> dict[str, Any]:
        """Return what the options that were left to be decided came to."""
        return {
            "steps": self.steps,
            "steps_per_epoch": self.steps_per_epoch,
            "batch_size": self.batch_size,
            "warmup_steps": self._warmup,
            "response_learning_rate": response_learning_rate(self.config),
            "processes": self.accelerator.num_processes,
            "device": self.accelerator.device.type,
        }

    def take_step(self) -> None:
        """Draw a batch and its betas and update the weights once."""
        seed_globally(self.config.seed, "noise", self.step, self.accelerator.process_index)
        x = self._batch()
        beta = self._betas(x.shape[0])
        self.whole = False
        factor = learning_rate_factor(self.step, self.steps, self._warmup, self.config) * 0.5**self._halvings
        for group, learning_rate in zip(self._optimizer.param_groups, self._learning_rates, strict=True):
            group["lr"] = learning_rate * factor
        with noise_of_step(self.accelerator, self.config, self.step, x.shape[0]):
            objective, rate, distortion = self._module(x, beta)
        loss = objective.mean()
        if self._spectral is not None:
            loss = loss + self.config.spectral_regularization * self._spectral()
        self.accelerator.backward(loss)
        if self.config.clip_norm is not None:
            norm = self.accelerator.clip_grad_norm_(self._module.parameters(), self.config.clip_norm)
            if self.accelerator.scaler is None:  # which leaves out steps whose gradient is not finite
                self._norms.append(norm.detach())
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._window.append(torch.stack([loss, rate.mean(), distortion.mean()]).detach())
        self.step += 1

    def log_is_due(self) -> bool:
        """Return whether a line of metrics is due."""
        return self.step % self.config.log_every == 0 or self.step == self.steps

    def epoch_is_done(self) -> bool:
        """Return whether the last step was the last of its epoch."""
        return self.step % self.steps_per_epoch == 0

    def checkpoint_is_due(self) -> bool:
        """Return whether a checkpoint is due."""
        return self.step % self._checkpoint_every == 0 or self.step == self.steps

    @property
    def _checkpoint_every(self) -> int:
        return self.config.checkpoint_every or self.steps_per_epoch

    def log(self) -> dict[str, Any]:
        """Add the means since the last line to the history and to ``metrics.jsonl``.

        Returns:
            The line.

        Raises:
            DivergenceError: if a loss or a gradient since the last line, or a weight, is not finite.
        """
        loss, rate, distortion = self._finite().mean(0).tolist()
        self._window.clear()
        self._norms.clear()
        line = {
            "split": "train",
            **self._where(),
            "loss": loss,
            "rate": rate,
            "distortion": distortion,
            **self.clock.line(),
        }
        self.history.append(line)
        self._append(line)
        return line

    @torch.no_grad()
    def validate(self) -> None:
        """Measure the validation data with the same noise in each epoch and for each beta; one line a beta."""
        if self.validation is None:
            return
        if self.accelerator.is_main_process:
            self._measure(self.validation)
        self._count_halvings()

    def _measure(self, validation: Source) -> None:
        betas = weights = [self.config.beta]
        if isinstance(self.model, MultiRate):
            served = self.model.beta_range
            weights = sorted(served.grid(self.config.validation_betas).tolist(), key=served.beta_of)
            betas = [served.beta_of(weight) for weight in weights]
        try:
            found = measure(
                self.model,
                validation,
                weights,
                seed=self.config.seed,
                batch_size=self.batch_size,
                to_device=self._to_device,
            )
        except DivergenceError as error:
            raise DivergenceError(f"not finite after step {self.step}: {error}{self._kept()}") from error
        for beta, (rate, distortion) in zip(betas, found, strict=True):
            line = {
                "split": "validation",
                **self._where(),
                "beta": beta,
                "rate": rate,
                "distortion": distortion,
                "objective": distortion + beta * rate,
                **self.clock.line(),
            }
            self.validation_history.append(line)
            self._append(line)

    def _count_halvings(self) -> None:
        """Let every process know how often the step size was halved: only the main one has measured."""
        from accelerate.utils import broadcast

        if self.config.decay == "plateau":
            count = torch.tensor(halvings(self.validation_history), device=self.accelerator.device)
            self._halvings = int(broadcast(count))

    def save_checkpoint(self) -> None:
        """Write a checkpoint, unless the run keeps nothing.

        Raises:
            DivergenceError: if a loss or a gradient since the last line, or a weight, is not finite.
            DataError: if the file cannot be written.
        """
        if self.folder.checkpoints is None:
            return
        self._finite()
        state = self.model.state_dict()
        if not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        path = checkpoint.save(
            self.folder.checkpoints,
            self.step,
            {
                "step": self.step,
                "seconds": self.clock.seconds,
                "cpu_seconds": self.clock.cpu_seconds,
                "model": state,
                "optimizer": self._optimizer.state_dict(),
                "scaler": {} if scaler is None else scaler.state_dict(),
                "window": [row.cpu() for row in self._window],
                "spectral": {} if self._spectral is None else self._spectral.state_dict(),
            },
            self._checkpoint_every,
        )
        self._last_checkpoint = str(path)

    def restore(self) -> None:
        """Go back to the newest checkpoint of the folder that can be read; without any, start again.

        Raises:
            TrainingError: if there are checkpoints and none can be read, or the checkpoint does not fit the model.
        """
        path, state = self._newest_checkpoint()
        if path is not None:
            try:
                self.model.load_state_dict(state["model"])
                self._optimizer.load_state_dict(state["optimizer"])
                if self._spectral is not None:
                    self._spectral.load_state_dict(state["spectral"])
            except (RuntimeError, ValueError, KeyError) as error:
                reason = " ".join(str(error).split())
                raise TrainingError(f"checkpoint {path} does not fit this model: {reason}") from error
            if self.accelerator.scaler is not None and state.get("scaler"):
                self.accelerator.scaler.load_state_dict(state["scaler"])
            self.step = state["step"]
            self.clock.go_on(state["seconds"], state.get("cpu_seconds", 0.0))
            self._window = [row.to(self.accelerator.device) for row in state["window"]]
            self._last_checkpoint = str(path)
        self.accelerator.wait_for_everyone()
        lines = self.folder.truncate(self.step) if self.accelerator.is_main_process else []
        self.history = [line for line in lines if line.get("split") == "train"]
        self.validation_history = [line for line in lines if line.get("split") == "validation"]
        self._measure_again()
        self._count_halvings()

    def _measure_again(self) -> None:
        """Measure an epoch whose checkpoint was written and whose validation was not, by a run that was cut between."""
        measured = {line["step"] for line in self.validation_history}
        if self.validation is None or not self.step or not self.epoch_is_done() or self.step in measured:
            return
        if self.accelerator.is_main_process:
            with torch.no_grad():
                self._measure(self.validation)

    def _newest_checkpoint(self) -> tuple[Path | None, dict[str, Any]]:
        damage: TrainingError | None = None
        files = [] if self.folder.checkpoints is None else checkpoint.newest_first(self.folder.checkpoints)
        for path in files:
            try:
                state = checkpoint.load(path)
            except TrainingError as error:
                damage = damage or error
                continue
            if damage is not None:
                self._warn(f"{str(damage).partition(';')[0]}; going on from the one before, step {state['step']}")
            return path, state
        if damage is not None:
            raise damage
        self._warn(f"{self.folder.path} holds no checkpoint; starting again from step 0")
        return None, {}

    def _warn(self, message: str) -> None:
        if self.accelerator.is_main_process:
            warnings.warn(message, stacklevel=2)

    def _batch(self) -> Tensor:
        return self._batch_of(self.step)

    def _batch_of(self, step: int) -> Tensor:
        return self._to_device(self.source.batch(self._chosen(step)))

    def _chosen(self, step: int) -> Tensor:
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            order = torch.randperm(len(self.source), generator=generator(self.config.seed, "order", epoch))
            self._order = epoch, order
        chosen = self._order[1][position * self.batch_size : (position + 1) * self.batch_size]
        return self._share(chosen)

    def _betas(self, n: int) -> Tensor:
        if not isinstance(self.model, MultiRate):
            beta = self.config.beta * kl_weight(self.step, self.steps, self.config)
            return torch.full((n,), beta, dtype=self._beta_dtype, device=self.accelerator.device)
        draw, count = draw_betas, self.batch_size
        if self._one_beta:
            draw, count = draw_step_betas, self.accelerator.num_processes
        betas = self._share(draw(self.model.beta_range, self.config.seed, self.step, count, self._beta_dtype))
        return (betas[0] if self._one_beta else betas).to(self.accelerator.device)

    def _share(self, whole: Tensor) -> Tensor:
        share = whole.shape[0] // self.accelerator.num_processes
        first = share * self.accelerator.process_index
        return whole[first : first + share]

    def _to_device(self, x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x.to(self.accelerator.device)
        if self.config.channels_last and x.ndim == 4:
            return x.to(self.accelerator.device, self._dtype, memory_format=torch.channels_last)
        return x.to(self.accelerator.device, self._dtype)

    def _finite(self) -> Tensor:
        """Return losses, rates and distortions since the last line, ``[N, 3]``, if they and the weights are finite."""
        values, start = torch.zeros(0, 3), self.step - len(self._window)
        if self._window:
            values = self.accelerator.reduce(torch.stack(self._window), reduction="mean").cpu().double()
        loss = first_row_not_finite(values)
        if self._norms:
            norms = torch.stack(self._norms).cpu()
            gradient = first_row_not_finite(norms[:, None])
            if gradient is not None and (loss is None or self.step - len(norms) + gradient < start + loss):
                step = self.step - len(norms) + gradient
                raise self._diverged(f"the norm of the gradient is {norms[gradient].item()}", step)
        where = self._watch.not_finite()
        if loss is not None:
            with_it = "" if where is None else f", and {where} is not finite now"
            raise self._diverged(f"the loss is {values[loss, 0].item()}", start + loss, with_it)
        if where is not None:
            since = "" if self.step == 0 else ": a gradient was not finite, or so large that its square is not"
            what = f"{where} is not finite after step {self.step} ({self._beta_in_words()}){since}"
            raise DivergenceError(f"{what}, so the run cannot go on: {REMEDY}{self._kept()}")
        return values

    def _diverged(self, what: str, step: int, more: str = "") -> DivergenceError:
        about, remedy = about_batch(self._batch_of(step), self._chosen(step).tolist())
        where = f"{what} at step {step + 1} ({self._beta_in_words()}){more}, {about}"
        return DivergenceError(f"{where}, so the run cannot go on: {remedy}{self._kept()}")

    def _beta_in_words(self) -> str:
        if isinstance(self.model, MultiRate):
            return f"{self.model.beta_range.name} in {self.model.beta_range}"
        return f"beta {self.config.beta:g}"

    def _kept(self) -> str:
        return "" if self._last_checkpoint is None else f"; the last good checkpoint is {self._last_checkpoint}"

    def _where(self) -> dict[str, int]:
        return {"step": self.step, "epoch": self.epoch}

    def _append(self, line: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            self.folder.append(line)
