"""What a run starts from and what it becomes: weights, prompts, the plan of its steps, the exported model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from liqe_jax.data.labelled import LabelledSet
from liqe_jax.data.reading.sampling import number_of_groups
from liqe_jax.encoders.base import Encoder, random_params
from liqe_jax.encoders.find import encoder_class
from liqe_jax.errors import ModelError, UsageError
from liqe_jax.tasks import TaskSet
from liqe_jax.taxonomy import find_tasks
from liqe_jax.text.tokenizer import Tokenizer
from liqe_jax.train.losses import Loss, named_losses
from liqe_jax.train.mapped import spread
from liqe_jax.train.optimizers import Flat, find_optimizer
from liqe_jax.train.plan import Plan
from liqe_jax.train.weighting import find_weighting
from liqe_jax.weights.checkpoint import Checkpoint, check_against_encoder
from liqe_jax.weights.files import check_stated
from liqe_jax.weights.layouts import to_flax
from liqe_jax.weights.open import open_checkpoint
from liqe_jax.weights.provenance import Provenance, TrainingSet
from liqe_jax.weights.read import read_arrays, stated_type


def starting_checkpoint(config: ConfigDict) -> Checkpoint:
    """The weights that `config.init` names, or random ones of `config.encoder`.

    An encoder of the user's own that has `from_encoder` can start from a model of another encoder. Raises ModelError if
    weights cannot be found or read, UsageError if there is no such encoder or `config.architecture` does not fit it.
    """
    if config.init != "random":
        return _opened(config)
    found = encoder_class(config.encoder)
    tokenizer = small_tokenizer(find_tasks(config.tasks or None, None))
    try:
        encoder = found.from_architecture(config.architecture.to_dict(), tokenizer)
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"config.architecture does not fit the encoder {found.name} ({error}); got {config.architecture.to_dict()}."
        ) from error
    params = random_params(encoder, jax.random.key(config.seed))
    flat = {name: np.asarray(leaf) for name, leaf in flatten_dict(params, sep="/").items()}
    if config.image_weights:
        flat |= _image_weights(Path(config.image_weights), found, flat)
    provenance = Provenance(config.name, "random")
    return Checkpoint(flat, encoder, provenance, tokenizer=tokenizer, preprocess=encoder.preprocess)


def _opened(config: ConfigDict) -> Checkpoint:
    """The model in `config.init`, as one of `config.encoder` where that is the user's own."""
    if ":" not in config.encoder:
        return open_checkpoint(config.init)
    own = encoder_class(config.encoder)
    if own.starts_from is None or stated_type(Path(config.init)) == own.name:
        return open_checkpoint(config.init, own)
    start = open_checkpoint(config.init)
    if not isinstance(start.encoder, own.starts_from):
        raise ModelError(
            f"config.encoder is {config.encoder}, which starts from a {own.starts_from.name} or continues a "
            f"{own.name}; config.init {config.init} is a {start.encoder.name}. Name another model or another encoder."
        )
    encoder, params = own.from_encoder(start.encoder, start.params, jax.random.key(config.seed))
    flat = {name: np.asarray(leaf) for name, leaf in flatten_dict(params, sep="/").items()}
    check_against_encoder(flat, encoder, f"{config.encoder}, from_encoder")
    return dataclasses.replace(start, flat=flat, encoder=encoder, text_features=None)


def _image_weights(path: Path, encoder: type[Encoder], flat: Flat) -> Flat:
    """Pretrained arrays for an image encoder, from a file of that part alone."""
    state = read_arrays(path)
    check_stated(path)
    layout = next((name for name, table in encoder.layouts.items() if table.signature in state), None)
    if layout is None:
        raise ModelError(
            f"config.image_weights: {path} holds none of the layouts of {encoder.name} ({', '.join(encoder.layouts)}). "
            "Name the file that configs/liqe_nano.py names, or leave it out."
        )
    arrays = to_flax(state, encoder, layout, str(path))
    return {name: array for name, array in arrays.items() if name in flat}


def small_tokenizer(tasks: TaskSet) -> Tokenizer:
    """CLIP's tokenizer with single characters and the tokens of a task set's prompts alone, for a small model."""
    full = Tokenizer.default()
    tokens = sorted(full.vocab, key=full.vocab.__getitem__)
    merge_of = {merge.replace(" ", ""): merge for merge in reversed(full.merges)}
    needed: set[str] = set()
    waiting = [tokens[number] for number in np.unique(full(tasks.prompts))]
    while waiting:
        merge = merge_of.get(waiting.pop())
        if merge is not None and merge not in needed:
            needed.add(merge)
            waiting += merge.split(" ")
    merges = [merge for merge in full.merges if merge in needed]
    kept = [*tokens[:512], *(merge.replace(" ", "") for merge in merges), *tokens[-2:]]
    return Tokenizer({token: number for number, token in enumerate(dict.fromkeys(kept))}, merges)


def make_plan(
    config: ConfigDict, checkpoint: Checkpoint, devices: int, losses: dict[str, Loss] | None = None
) -> tuple[Plan, Any]:
    """The plan of the steps and this process's rows of prompts, one group for each of its `devices` local devices.

    `losses` are functions of your own, by name, in place of those that `config.losses` names. Raises UsageError
    for what does not exist or prompts that the encoder cannot take, ModelError if the tokenizer does not fit.
    """
    tasks = find_tasks(config.tasks or None, checkpoint.tasks)
    losses = losses or named_losses(tuple(config.losses), tasks)
    prompts = checkpoint.encoder.prompts(tasks.prompts, checkpoint.tokenizer, devices * jax.process_count())
    plan = Plan(
        checkpoint.encoder,
        tasks,
        losses,
        prompts.order,
        number_of_groups([count for _, count in config.data.sets], config.data.pairs),
        find_optimizer(config.optimizer),
        weighting=find_weighting(config.weighting, tuple(losses)),
        freeze=tuple(config.freeze),
        train_only=tuple(config.train_only),
        ema_decay=config.ema_decay,
        dtype=jnp.dtype(config.dtype),
        remat=config.remat,
        micro_batches=config.micro_batches,
        shard_optimizer=config.shard_optimizer,
    )
    mine = slice(jax.process_index() * devices, (jax.process_index() + 1) * devices)
    return plan, jax.tree.map(lambda array: array[mine], spread(prompts.rows, devices * jax.process_count()))


def as_checkpoint(
    config: ConfigDict, plan: Plan, start: Checkpoint, sets: Sequence[LabelledSet], params: Flat, step: int
) -> Checkpoint:
    """The model that a run has after some steps, with its provenance; text features are to be computed again.

    Of `start`, what the run started from, the parameters are not used; `params` are flat and on the host.
    """
    split = config.data.split
    named = f"session {split}" if split.isdigit() else split
    # A plain CLIP, which comes with config.json and words, has learned from no MOS. Of a model that
    # predicts quality what is not stated stays unknown, and a bare file may be LIQE.pt.
    plain = start.tasks is None and start.tokenizer is not None
    before = () if plain else start.provenance.trained_on
    now = [TrainingSet(dataset.name, named if split in dataset.splits else "all") for dataset in sets]
    provenance = Provenance(
        config.name,
        source=f"liqe_jax train.py from {config.init}",
        licence=config.licence or start.provenance.licence,
        trained_on=None if before is None else tuple(dict.fromkeys([*before, *now])),
        notes=(
            *config.notes,
            f"step {step} of {config.epochs * config.steps_per_epoch}, seed {config.seed}, "
            f"weighting {config.weighting}",
        ),
    )
    return dataclasses.replace(
        start,
        flat={name: np.asarray(leaf) for name, leaf in params.items()},
        tasks=plan.tasks,
        provenance=provenance,
        preprocess=config.preprocess or start.preprocess,
        text_features=None,
    )
