"""Evaluates LIQE: `python eval.py --config=configs/eval_liqe.py --weights=M --workdir=W [--config.KEY=VALUE ...]`.

M is a folder, a file or a name, as for `liqe score`; with {session} in it, ten models. An interrupted run continues
when it is started again with the same workdir. Several hosts: as train.py.
"""

import sys

from liqe_jax.cli.flags import parse_flags, quiet_libraries, require_packages
from liqe_jax.memory import collect_garbage_rarely, keep_freed_memory

collect_garbage_rarely()
quiet_libraries()
require_packages()

import jax
from absl import app, flags
from ml_collections import config_flags

from liqe_jax.errors import LiqeError
from liqe_jax.evaluate.run import evaluate

CONFIG = config_flags.DEFINE_config_file("config", None, "Settings: a file in configs/.", lock_config=True)
WEIGHTS = flags.DEFINE_string("weights", "", "The model; {session} stands for the number of a session.")
WORKDIR = flags.DEFINE_string("workdir", None, "Local folder for predictions, tables and the report.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of the first process, for several hosts.")
PROCESSES = flags.DEFINE_integer("processes", None, "Number of processes.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Join the other hosts of a TPU pod or cluster.")


def main(_: list[str]) -> None:
    """Runs the evaluation that the flags describe."""
    keep_freed_memory()
    if DISTRIBUTED.value or COORDINATOR.value:
        if jax.config.jax_platforms == "cpu":
            jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(COORDINATOR.value, PROCESSES.value, PROCESS_ID.value)
    try:
        evaluate(CONFIG.value, WEIGHTS.value, WORKDIR.value)
    except LiqeError as error:
        print(f"eval.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main, flags_parser=parse_flags)
