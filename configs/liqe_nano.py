"""A small CLIP from nothing, on damaged crops of free photographs: the model that is to be embedded.

    python tools/photographs.py --out photos
    python -m liqe_jax.synthetic.crops photos data/crops --rounds 6
    python train.py --config=configs/liqe_nano.py --workdir=runs/nano

The vision tower is given frequencies instead of pixels (`liqe_jax/model/stem.py`). Hardware and time: two CPU
cores; how long the whole run takes and how good it gets has not been measured yet. Verified here: sixty
steps on crops of three photographs, in which the pair loss fell from 0.28 to 0.19.
"""

from ml_collections import ConfigDict

from liqe_jax.train.settings import default_config


def get_config() -> ConfigDict:
    """The run."""
    config = default_config()
    config.name = "liqe_nano"
    config.licence = "Apache-2.0"
    config.init = "random"
    config.architecture = ConfigDict(
        {
            "image_size": 224,
            "patch_size": 32,
            "projection_dim": 128,
            "stem": "frequencies",
            "vision": {"width": 192, "layers": 4, "heads": 3, "mlp_width": 768},
            "text": {"width": 96, "layers": 2, "heads": 4, "mlp_width": 384},
        }
    )
    config.losses = ("quality", "opinion", "distortion", "distortion_entropy", "scene_entropy")
    config.loss_weights = (1.0, 0.5, 0.5, 0.5, 0.1)
    config.weighting = "equal"
    config.data.sets = (("crops", 96),)
    config.data.split = "photographs"
    config.data.patches = 1
    config.data.test = ("none",)
    config.epochs = 9
    config.steps_per_epoch = 300
    config.validate_every_epochs = 3
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 200
    config.optimizer.weight_decay = 0.05
    config.optimizer.clip_norm = 1.0
    config.validation_batch, config.validation_patches = 64, 1  # crops have room for one
    config.checkpoint.every_steps = 300
    config.log_every_steps = 50
    return config
