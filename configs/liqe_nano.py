"""A small CLIP from nothing, on damaged crops of free photographs: the model inside the package.

    python tools/photographs.py --out photos
    python -m liqe_jax.synthetic.crops photos data/crops --rounds 2
    python train.py --config=configs/liqe_nano.py --workdir=runs/nano
    liqe convert runs/nano/best_quality liqe_nano --dtype float16

The vision tower is given frequencies and tones instead of pixels (`liqe_jax/model/stem.py`), from a file that the first
start writes, and half of a crop's squares in every step. Hardware and time: two CPU cores with AVX-512, beside other
work: 6 minutes for the photographs, 25 for 71,536 crops (11 GB), 9 for their stem (9 GB), 38 for 6000 steps at 255
images/s and six validations. Expected: SRCC and category accuracy on the crops of the 25 validation photographs, which
hold several kinds of damage at once and all strengths: 0.745 and 0.703 after 1000 steps, 0.816 and 0.784 after 3000,
0.846 and 0.802 after 5000, 0.847 and 0.804 after 6000. docs/liqe_nano.md has what the model does on whole photographs.
Verified here: these commands, without interruption; four photographs were taken off the list by hand after the first,
and a row's mean in LayerNorm has been summed in another order since, so that another run will differ in rounding.
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
    config.square_dropout = 0.5
    config.epochs = 6
    config.steps_per_epoch = 1000
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 200
    config.optimizer.weight_decay = 0.05
    config.optimizer.clip_norm = 1.0
    config.validation_batch, config.validation_patches = 64, 1  # crops have room for one
    config.checkpoint.every_steps = 500
    config.log_every_steps = 50
    return config
