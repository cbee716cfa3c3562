"""What a run starts from: weights, prompts, the plan of its steps."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from liqe_jax.errors import UsageError
from liqe_jax.model.clip import init_params
from liqe_jax.model.prompts import pack_for_devices
from liqe_jax.scoring.load import find_tasks, open_checkpoint
from liqe_jax.tasks import TaskSet
from liqe_jax.text.tokenizer import Tokenizer
from liqe_jax.train.mapped import rows_per_device
from liqe_jax.train.objective import Term, named_terms
from liqe_jax.train.plan import Plan
from liqe_jax.train.settings import architecture
from liqe_jax.train.step import PromptRows
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.provenance import Provenance


def starting_checkpoint(config: ConfigDict) -> Checkpoint:
    """The weights that `config.init` names, or random ones.

    Raises:
      ModelError: they cannot be found or read.
    """
    if config.init != "random":
        return open_checkpoint(config.init)
    tokenizer = small_tokenizer(find_tasks(config.tasks or None, None))
    shape = architecture(config, len(tokenizer.vocab), max(tokenizer.vocab.values()))
    params = jax.jit(init_params, static_argnums=1)(jax.random.key(config.seed), shape)
    flat = {name: np.asarray(leaf) for name, leaf in flatten_dict(params, sep="/").items()}
    return Checkpoint(flat, shape, Provenance(config.name, "random"), tokenizer=tokenizer)


def small_tokenizer(tasks: TaskSet) -> Tokenizer:
    """CLIP's tokenizer with the tokens that a task set's prompts use, and single characters.

    A model that starts from nothing has no use for 49,408 words, which would be most of its size.
    """
    full = Tokenizer.default()
    used = set(np.unique(full(tasks.prompts)).tolist())
    merges: list[str] = []
    vocab = {token: number for token, number in full.vocab.items() if number < 512 or number >= len(full.vocab) - 2}
    parts = {merge.replace(" ", ""): merge for merge in reversed(full.merges)}

    def need(token: str) -> None:
        if token in parts and parts[token] not in merges:
            merges.append(parts[token])
            for part in parts[token].split(" "):
                need(part)

    names = {number: token for token, number in full.vocab.items()}
    for number in sorted(used):
        need(names[number])
    rank = {merge: position for position, merge in enumerate(full.merges)}
    merges.sort(key=rank.__getitem__)
    kept = [*sorted(vocab, key=vocab.__getitem__)[:-2], *(merge.replace(" ", "") for merge in merges)]
    kept += sorted(vocab, key=vocab.__getitem__)[-2:]
    return Tokenizer({token: number for number, token in enumerate(dict.fromkeys(kept))}, merges)


def make_plan(
    config: ConfigDict, checkpoint: Checkpoint, devices: int, terms: dict[str, Term] | None = None
) -> tuple[Plan, PromptRows]:
    """The plan of the steps and this process's rows of prompts, one group per local device.

    Args:
      config: the run's.
      checkpoint: what it starts from.
      devices: local devices of this process.
      terms: losses of one's own; default those that `config.losses` names.

    Raises:
      UsageError: unknown losses, weighting or tasks; prompts that the text tower cannot take.
    """
    tasks = find_tasks(config.tasks or None, checkpoint.tasks)
    token_ids = (checkpoint.tokenizer or Tokenizer.default())(tasks.prompts, checkpoint.config.context_length)
    if token_ids.max() >= checkpoint.config.vocab_size:
        raise UsageError(
            f"The prompts of {tasks.name!r} have token {token_ids.max()}; the model's vocabulary ends at "
            f"{checkpoint.config.vocab_size - 1}. Put its own vocab.json and merges.txt beside its weights."
        )
    everywhere = devices * jax.process_count()
    packed = pack_for_devices(token_ids, checkpoint.config.eos_token_id, everywhere, checkpoint.config.text.width)
    plan = Plan(
        checkpoint.config,
        tasks,
        terms or named_terms(tuple(config.losses), tasks),
        packed.order,
        len(config.data.sets),
        weighting=config.weighting,
        freeze=tuple(config.freeze),
        dtype=jnp.dtype(config.dtype),
        remat=config.remat,
        micro_batches=config.micro_batches,
        weight_decay=config.optimizer.weight_decay,
        betas=tuple(config.optimizer.betas),
        epsilon=config.optimizer.epsilon,
        clip_norm=config.optimizer.clip_norm or None,
        fp16_round_trip=config.fp16_round_trip,
    )
    rows = rows_per_device(packed, everywhere)
    mine = slice(jax.process_index() * devices, (jax.process_index() + 1) * devices)
    return plan, jax.tree.map(lambda array: array[mine], rows)


def trained(checkpoint: Checkpoint, flat: dict, tasks: TaskSet, provenance: Provenance) -> Checkpoint:
    """The same model with other numbers; text features are to be computed again."""
    return dataclasses.replace(
        checkpoint,
        flat={name: np.asarray(leaf) for name, leaf in flat.items()},
        tasks=tasks,
        provenance=provenance,
        text_features=None,
    )
