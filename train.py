"""Trains LIQE: `python train.py --config=configs/liqe_mix.py --workdir=W [--config.KEY=VALUE ...]`.

An interrupted run continues when it is started again with the same workdir. With {session} in the workdir, ten models
are trained one after the other, on LIQE's ten sessions. Several hosts: start the same command on each, with a shared
workdir; give --distributed on TPU pods, elsewhere --coordinator, --processes and --process_id.
"""

import sys

from liqe_jax.cli.flags import parse_flags, quiet_libraries, require_packages
from liqe_jax.memory import collect_garbage_rarely, keep_freed_memory, return_freed_memory

collect_garbage_rarely()
quiet_libraries()
require_packages()

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from liqe_jax.errors import LiqeError
from liqe_jax.train.loop import train_and_evaluate
from liqe_jax.train.validate import LAST, export_folder

# In --workdir: one run for each of LIQE's ten random splits.
SESSION, LIQE_SESSIONS = "{session}", tuple(str(number) for number in range(1, 11))

CONFIG = config_flags.DEFINE_config_file("config", None, "Settings: a file in configs/.", lock_config=True)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for checkpoints, logs and models; local or gs://. {session} trains ten."
)
COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of the first process, for several hosts.")
PROCESSES = flags.DEFINE_integer("processes", None, "Number of processes.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Join the other hosts of a TPU pod or cluster.")


def main(_: list[str]) -> None:
    """Runs the training that the flags describe."""
    if CONFIG.value.get("data", {}).get("frozen_features"):  # settings are checked later
        keep_freed_memory()  # such steps are small, and the frozen network runs once for each image
    else:
        return_freed_memory()
    logging.set_verbosity(logging.WARNING)  # Orbax logs every one of its steps
    if DISTRIBUTED.value or COORDINATOR.value:
        if jax.config.jax_platforms == "cpu":
            jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(COORDINATOR.value, PROCESSES.value, PROCESS_ID.value)
    try:
        if SESSION not in WORKDIR.value:
            train_and_evaluate(CONFIG.value, WORKDIR.value)
            return
        for session in LIQE_SESSIONS:
            with CONFIG.value.unlocked():
                CONFIG.value.data.split = session
            print(f"Session {session} of {len(LIQE_SESSIONS)}", file=sys.stderr)
            workdir = WORKDIR.value.replace(SESSION, session)
            train_and_evaluate(CONFIG.value, workdir)
            if not (export_folder(workdir, CONFIG.value.name) / LAST).is_dir():
                return  # stopped by a signal
    except LiqeError as error:
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main, flags_parser=parse_flags)
