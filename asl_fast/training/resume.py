# SPDX-License-Identifier: Apache-2.0
"""A run goes on where its last checkpoint was written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from asl_fast.losses.former_names import with_present_names
from asl_fast.training.checkpoint import (
    CheckpointError,
    check_finite,
    check_same_config,
    check_same_data,
    load_checkpoint,
    saved_config,
    scoring_changes,
    seed_everything,
    set_rng_state,
)
from asl_fast.training.config import TrainConfig
from asl_fast.training.distributed import Processes
from asl_fast.training.restoring import KINDS, check_keys, check_optimizer, check_weights
from asl_fast.training.run_folder import RunFolder
from asl_fast.training.state import TrainingState
from asl_fast.wording import count


def resume_run(
    state: TrainingState,
    folder: RunFolder,
    config: TrainConfig,
    processes: Processes,
    dataset_record: dict[str, Any],
) -> int:
    """Continue where the last checkpoint was written, and say what goes on differently.

    Args:
        state: What the checkpoint is loaded into.
        folder: Of the run, which has a checkpoint.
        config: The run as it goes on.
        processes: The processes that it goes on in.
        dataset_record: What the data set is now, which must be what it was.

    Returns:
        How many videos all processes together take in a step, which stays as it was.

    Raises:
        CheckpointError: When it cannot be read, does not fit, or was written for another configuration or other data.
        ValueError: When the videos of a step cannot be shared out among as many processes as there are now.
    """
    path = folder.last
    content = load_checkpoint(path)
    check_keys(content, ("rng",), path)
    content.setdefault("videos_per_step", config.batch_size * len(content["rng"]))  # older files do not say
    check_keys(content, tuple(KINDS), path)
    check_same_config(content, config, path)
    check_same_data(content["dataset"], dataset_record, path)
    before, now = len(content["rng"]), processes.world_size
    videos_per_step: int = content["videos_per_step"]
    if videos_per_step < now or videos_per_step % now:
        raise ValueError(
            f"{path} was written by {count(before, 'process', 'processes')} that took {videos_per_step} videos a step, "
            f"which {now} processes cannot share out evenly; start a number that divides {videos_per_step}"
        )
    content["loss"] = with_present_names(content["loss"])
    average = content["average"]
    for part, module in state.modules.items():
        weights = average.get("module") if part == "average" else content[part]
        check_weights(weights, module.state_dict(), part, path)
    check_optimizer(content["optimizer"], state.optimizer, path)
    check_finite(content, state.modules, path)
    try:
        state.load_state_dict(content)
        if before == now:
            set_rng_state(content["rng"][processes.rank])
        else:
            seed_everything(config.seed + 1000003 * processes.rank + 7919 * state.epoch)
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        # What is left: counters of the average, options of the optimiser, states of random generators.
        raise CheckpointError(f"{path} does not fit: {error!r:.160}; train again") from None
    lines = list(_resumed_differently(state, saved_config(content, path), config))
    if before != now:
        lines.append(
            f"{count(now, 'process', 'processes')} in the place of {before}, which together take {videos_per_step} "
            "videos a step as before; dropout and drop path draw other random numbers"
        )
    for line in lines if processes.is_main else ():
        print(f"  {line}")
    return videos_per_step


def _resumed_differently(state: TrainingState, saved: TrainConfig, config: TrainConfig) -> Iterator[str]:
    """Say what goes on in another way than it began, where epochs are left; forget a best score of other rules."""
    if state.epoch >= config.total_epochs:
        return
    if config.total_epochs > saved.total_epochs:
        yield (
            f"the run is extended from {saved.total_epochs} to {config.total_epochs} epochs: from epoch "
            f"{state.epoch + 1} on the learning rate follows the longer cosine"
        )
    if changes := scoring_changes(saved, config):
        state.best_map, state.best_epoch = None, None
        yield f"scored by other rules from here on ({'; '.join(changes)}), so the best checkpoint is chosen anew"
