"""A small CLIP from nothing, on damaged crops of free photographs: the model inside the package.

    python tools/photographs.py --out photos
    python -m liqe_jax.synthetic.crops photos data/crops --rounds 6
    python train.py --config=configs/liqe_nano.py --workdir=runs/nano
    liqe convert runs/nano/best_average liqe_nano --dtype float16

The vision tower is given frequencies instead of pixels (`liqe_jax/model/stem.py`). Hardware and time: two CPU
cores with AVX-512, beside other work: 2 minutes for the photographs, 23 for 74,112 crops (11 GB), about an hour
for 2700 steps at 70 to 95 images/s. Expected: SRCC 0.83 and category accuracy 0.78 on the crops of the validation
photographs, which hold several kinds of damage at once and all strengths; docs/liqe_nano.md has what the model does
on whole photographs. Verified here: this run, which was interrupted and resumed four times and ran on two virtual
devices for 300 of its steps, so that another one will differ in rounding.
"""

from ml_collections import ConfigDict

from liqe_jax.train.settings import default_config


def get_config() -> ConfigDict:
    """The run."""
    config = default_config()
    config.name = "liqe_nano"
    config.licence = "Apache-2.0"
    config.seed = 19901116
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
    config.data.stored_stem = True
    config.data.test = ("none",)
    config.epochs = 9
    config.steps_per_epoch = 1000
    config.validate_every_epochs = 5
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 200
    config.optimizer.weight_decay = 0.05
    config.optimizer.clip_norm = 1.0
    config.validation_batch, config.validation_patches = 64, 1  # crops have room for one
    config.checkpoint.every_steps = 500
    config.log_every_steps = 50
    return config
