"""The training loop: any parameters, any loss; deterministic from a seed; goes on where it was killed."""

import contextlib
import functools
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from esv_jax import checks, progress
from esv_jax.checks import InputError
from esv_jax.training.checkpoints import Checkpoints

MAX_STEPS = 2**31 - 1  # AdamW counts them in int32
VALIDATION_LOSS = "validation_loss"

Metrics = dict[str, jax.Array]
# (params, state, data, rows [B], key) -> (loss [], (state, metrics))
Loss = Callable[[Any, Any, Any, jax.Array, jax.Array], tuple[jax.Array, tuple[Any, Metrics]]]


class Schedule(NamedTuple):
    """How long to train and how fast; together with the data, the loss and the code it decides the result.

    Attributes:
      epochs: passes over the data.
      batch_size: B, examples a step, all where there are fewer; the last batch of an epoch is filled up with examples
        seen earlier in it.
      learning_rate: of AdamW at its peak, after a warm-up of 5 % of the steps; from there a cosine falls to 0.
      weight_decay: of AdamW, on matrices and kernels only (not on biases and scales).
      seed: of the shuffling, and of the keys that the loss is given; an integer of 64 bits.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    seed: int = 0


class Selection(NamedTuple):
    """Which epoch's params and state are kept: those of the least loss on examples that are not trained on.

    Attributes:
      loss: (params, state) -> that loss, on the host.
      every: epochs from one look to the next; the last epoch is always looked at.
      patience: training stops when so many epochs have brought nothing better; None: never.
    """

    loss: Callable[[Any, Any], float]
    every: int = 1
    patience: int | None = None


class Trained(NamedTuple):
    """What comes out.

    Attributes:
      params, state: as given to `train`, after `epoch` epochs: the selected one, or the last.
      history: the mean of every metric in each epoch, float32 [E]; with a selection its loss, too, as
        "validation_loss", NaN for epochs that were not looked at.
    """

    params: Any
    state: Any
    history: dict[str, np.ndarray]
    epoch: int


def train(
    loss: Loss,
    params: Any,
    state: Any,
    data: Any,
    *,
    num_examples: int,
    schedule: Schedule,
    checkpoints: str | os.PathLike | None = None,
    settings: dict[str, Any] | None = None,
    save_every_s: float = 30.0,
    scan_steps: bool = True,
    selection: Selection | None = None,
) -> Trained:
    """Minimises `loss` with AdamW.

    The same arguments give the same result to the bit (on one kind of machine), interrupted and resumed or not.

    Args:
      loss: (params, state, data, rows int32 [B], key) -> (loss [], (new state, {"accuracy": [], ...})), for the
        examples `rows` of `data`; jitted here.
      params: pytree of float arrays, trained.
      state: pytree of what else the model carries along, such as batch norm's running means; {} for none.
      data: pytree of arrays, moved to the device once.
      num_examples: the rows are drawn from 0..num_examples-1, every one at least once an epoch.
      schedule: see there.
      checkpoints: folder for the state of the run, at most `save_every_s` seconds old; a run that finds the state of
        an earlier one there goes on from it. None: keep nothing.
      settings: json that tells this run from others (what data, what model); a folder with the state of a run with
        other settings or another schedule is refused.
      scan_steps: run an epoch as one compiled program, best for small models. XLA's loops on CPU run convolutions on
        one thread (10 times slower), so train convolutional networks with False: one program a step.
      selection: which epoch is kept, and when to stop; None: the last one.

    Raises:
      InputError: an impossible schedule or selection, a loss that is not finite, or checkpoints that are of another
        run, damaged, or cannot be written.
    """
    check_schedule(schedule, num_examples)
    if selection is not None:
        checks.check_positive("every", selection.every)
        checks.check_positive("patience", 1 if selection.patience is None else selection.patience)
    batch_size = min(schedule.batch_size, num_examples)
    steps = -(-num_examples // batch_size)
    run_epoch = _scan if scan_steps else _loop
    data = jax.tree.map(jnp.asarray, data)
    carry = jax.tree.map(jnp.asarray, (params, state, adamw(schedule, steps).init(params)))
    # Of the best epoch so far; saved with the rest, so that a resumed run selects as an uninterrupted one.
    best = carry[:2] if selection is not None else None
    history: dict[str, np.ndarray] = {}
    first_epoch = 0
    with contextlib.ExitStack() as opened:
        store = None
        if checkpoints is not None:
            selecting = {} if selection is None else {"every": selection.every, "patience": selection.patience}
            run = {"schedule": schedule._asdict(), "settings": {**(settings or {}), **selecting}}
            store = opened.enter_context(Checkpoints(Path(checkpoints), run))
            leaves, structure = jax.tree.flatten((carry, best))
            found = store.latest(leaves)
            if found is not None:
                first_epoch, arrays, history = found
                carry, best = jax.tree.unflatten(structure, [jnp.asarray(array) for array in arrays])
        last_save = time.monotonic()
        bars = opened.enter_context(progress.bars("epochs"))
        task = bars.add_task("training", total=schedule.epochs, completed=first_epoch)
        for epoch in range(first_epoch, schedule.epochs):
            if is_stopped(history, selection):
                break
            order_key, step_key = jax.random.split(jax.random.fold_in(jax.random.key(schedule.seed), epoch))
            rows = _batches(order_key, num_examples, steps, batch_size)
            carry, metrics = run_epoch(loss, schedule, carry, data, rows, jax.random.split(step_key, steps))
            names = ["loss", *sorted(set(metrics) - {"loss"})]
            means = {name: np.float32(metrics[name].mean()) for name in names}
            last = epoch + 1 == schedule.epochs
            if selection is not None:
                looked = last or (epoch + 1) % selection.every == 0
                means[VALIDATION_LOSS] = np.float32(selection.loss(*carry[:2]) if looked else np.nan)
            for name, mean in means.items():
                if not np.isfinite(mean) and (name == "loss" or (name == VALIDATION_LOSS and looked)):
                    raise InputError(f"the {name} became {mean} in epoch {epoch + 1}: lower the learning rate")
            history = {
                name: np.append(history.get(name, np.zeros(0, np.float32)), mean) for name, mean in means.items()
            }
            if selection is not None and selected(history) == epoch + 1:
                best = carry[:2]
            said = ", ".join(f"{name} {mean:.3f}" for name, mean in means.items() if np.isfinite(mean))
            bars.update(task, completed=epoch + 1, said=said)
            done = last or is_stopped(history, selection)
            if store is not None and (done or time.monotonic() - last_save >= save_every_s):
                store.save(epoch + 1, jax.tree.leaves((carry, best)), history)
                last_save = time.monotonic()
    params, state = best or carry[:2]
    return Trained(params, state, history, selected(history))


def selected(history: dict[str, np.ndarray]) -> int:
    """The epoch, 1.., of the least validation loss, the first of equal ones; 0 before there is any. Without validation
    the last one."""
    if VALIDATION_LOSS not in history:
        return len(history["loss"])
    losses = np.nan_to_num(history[VALIDATION_LOSS], nan=np.inf)
    return int(losses.argmin()) + 1 if np.isfinite(losses).any() else 0


def is_stopped(history: dict[str, np.ndarray], selection: Selection | None) -> bool:
    """Whether the last look was as many epochs as the patience behind the selected one."""
    if selection is None or selection.patience is None or not history or not selected(history):
        return False
    last_look = np.flatnonzero(np.isfinite(history[VALIDATION_LOSS]))[-1] + 1
    return bool(last_look - selected(history) >= selection.patience)


def check_schedule(schedule: Schedule, num_examples: int) -> None:
    """Raises InputError for an impossible schedule, or nothing to train on."""
    if num_examples < 1:
        raise InputError("the training set should hold at least one example, found none")
    checks.check_positive("epochs", schedule.epochs)
    checks.check_positive("batch_size", schedule.batch_size)
    steps = -(-num_examples // min(schedule.batch_size, num_examples)) * schedule.epochs
    if steps > MAX_STEPS:
        raise InputError(
            f"{schedule.epochs:,} epochs are more steps ({steps:.3g}) than the {MAX_STEPS:,} that are counted"
        )
    if not 0 < schedule.learning_rate < math.inf:
        raise InputError(f"learning_rate should be positive, found {schedule.learning_rate}")
    if not 0 <= schedule.weight_decay < math.inf:
        raise InputError(f"weight_decay should be at least 0, found {schedule.weight_decay}")
    if not -(2**63) <= schedule.seed < 2**63:
        raise InputError(f"seed should be an integer of 64 bits, found {schedule.seed}")


def adamw(schedule: Schedule, steps_per_epoch: int) -> optax.GradientTransformation:
    """The optimiser of a schedule."""
    total = steps_per_epoch * schedule.epochs
    # A single step is taken at the peak, or nothing would be learnt.
    warmup = min(max(1, total // 20), total - 1)
    rate = optax.warmup_cosine_decay_schedule(0.0, schedule.learning_rate, warmup, total)
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(rate, weight_decay=schedule.weight_decay, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)),
    )


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _step(
    loss: Loss, schedule: Schedule, steps_per_epoch: int, carry: Any, data: Any, rows: jax.Array, key: jax.Array
) -> tuple[Any, Metrics]:
    params, state, opt_state = carry
    (value, (state, metrics)), gradient = jax.value_and_grad(loss, has_aux=True)(params, state, data, rows, key)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes float and int32
        updates, opt_state = adamw(schedule, steps_per_epoch).update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
    return (params, state, opt_state), {"loss": value, **metrics}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _scan(
    loss: Loss, schedule: Schedule, carry: Any, data: Any, rows: jax.Array, keys: jax.Array
) -> tuple[Any, Metrics]:
    return jax.lax.scan(lambda c, xs: _step(loss, schedule, len(rows), c, data, *xs), carry, (rows, keys))


def _loop(
    loss: Loss, schedule: Schedule, carry: Any, data: Any, rows: jax.Array, keys: jax.Array
) -> tuple[Any, Metrics]:
    metrics = []
    for row, key in zip(rows, keys, strict=True):
        carry, metric = _step(loss, schedule, len(rows), carry, data, row, key)
        metrics.append(metric)
    return carry, jax.tree.map(lambda *values: jnp.stack(values), *metrics)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _batches(key: jax.Array, num_examples: int, steps: int, batch_size: int) -> jax.Array:
    """Rows int32 [steps, batch_size]: a permutation, repeated from its start to fill the last batch."""
    order = jax.random.permutation(key, jnp.arange(num_examples, dtype=jnp.int32))
    return jnp.resize(order, (steps, batch_size))
