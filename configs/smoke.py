"""A run of a minute on a CPU, on generated pictures and a tiny random model: shows that all parts work.

    python train.py --config=configs/smoke.py --workdir=runs/smoke
    liqe score samples --model runs/smoke/best_average

Hardware and time: two CPU cores, about a minute. Expected: losses fall; the exported model scores. The
scores mean nothing. Verified here: run to the end, killed and resumed (tests/test_train_run.py).
"""

from ml_collections import ConfigDict

from liqe_jax.train.settings import default_config


def get_config() -> ConfigDict:
    """The run."""
    config = default_config()
    config.name = "smoke"
    config.init = "random"
    config.architecture = ConfigDict(
        {
            "image_size": 224,
            "patch_size": 32,
            "projection_dim": 32,
            "vision": {"width": 64, "layers": 2, "heads": 2, "mlp_width": 128},
            "text": {"width": 64, "layers": 2, "heads": 2, "mlp_width": 128},
        }
    )
    config.tasks = "quality_distortion"
    config.data.sets = (("generated", 4), ("generated-2", 4))
    config.data.crops = 2
    config.epochs = 3
    config.steps_per_epoch = 10
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    config.checkpoint.every_steps = 5
    config.log_every_steps = 5
    return config
