"""One Accelerator for one run, whatever ran before in the same process."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from multirate.errors import Terminated, UsageError
from multirate.training.config import TrainConfig

if TYPE_CHECKING:
    from accelerate import Accelerator

# How accelerate's launcher asks for weights in pieces, which a run could neither validate nor write.
_SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron",
}


@contextmanager
def accelerator_for(
    config: TrainConfig, trackers: Sequence[str] = (), logs: Path | None = None
) -> "Iterator[Accelerator]":
    """Make the object that knows devices, mixed precision and processes.

    accelerate keeps its choice of device and precision for the life of a Python process; it is forgotten on exit
    unless somebody else made it, so that the next run may choose again.

    Args:
        config: ``device`` and ``precision`` are used.
        trackers: that the accelerator will open, by name.
        logs: folder for what they write, or None.

    Yields:
        The accelerator.

    Raises:
        UsageError: if the device or the precision is not to be had here, or accelerate is told to shard the model.
    """
    for name, library in _SHARDING.items():
        if os.environ.get(name, "false").lower() == "true":
            raise UsageError(
                f"fit keeps whole weights in every process, and {library} shards them ({name}=true): leave it out of "
                "accelerate's configuration, or shard in a loop of your own, as docs/scaling.md shows"
            )
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import ProjectConfiguration

    project = ProjectConfiguration(logging_dir=None if logs is None else str(logs))
    others = bool(PartialState._shared_state)
    wanted = {} if config.device is None else _environment(config.device)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        accelerator = Accelerator(
            mixed_precision=config.precision, log_with=list(trackers) or None, project_config=project
        )
    except BaseException as error:
        if not others:
            AcceleratorState._reset_state(reset_partial_state=True)
        if not isinstance(error, (ValueError, RuntimeError)):
            raise
        raise UsageError(f"device {config.device}, precision {config.precision}: {error}") from error
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    try:
        if config.precision == "fp16" and accelerator.device.type == "cpu":
            raise UsageError("precision fp16 needs a GPU: on a CPU nothing would be computed in it; choose bf16 or no")
        yield accelerator
    finally:
        if not others:
            AcceleratorState._reset_state(reset_partial_state=True)


def agreed(accelerator: "Accelerator", kind: type[KeyboardInterrupt] | None) -> type[KeyboardInterrupt] | None:
    """Return the signal that has come to any process of a run; all of them ask at the same step.

    Args:
        accelerator: of the run.
        kind: what has come to this one.
    """
    if accelerator.num_processes == 1:
        return kind
    import torch

    kinds = (None, KeyboardInterrupt, Terminated)
    own = torch.tensor([kinds.index(kind)], device=accelerator.device)
    return kinds[int(accelerator.gather(own).max())]


def _environment(device: str) -> dict[str, str]:
    return {"ACCELERATE_USE_CPU": "true"} if device == "cpu" else {"ACCELERATE_TORCH_DEVICE": device}
