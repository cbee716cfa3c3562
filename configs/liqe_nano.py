"""A small CLIP from nothing, on damaged crops of free photographs: the model inside the package.

    python tools/photographs.py --out photos
    python -m liqe_jax.synthetic.crops photos data/crops --rounds 10
    python train.py --config=configs/liqe_nano.py --workdir=runs/nano
    python tools/average_models.py runs/nano/best_quality runs/nano/best_average runs/nano/averaged --share 0.4
    liqe convert runs/nano/averaged liqe_nano --dtype float16

The vision tower is given frequencies and tones instead of pixels (`liqe_jax/model/stem.py`), from a file that the first
start writes. Hardware and time: two CPU cores with AVX-512, beside other work: 2 minutes for the photographs, about 40
for 123,520 crops (19 GB), 14 for their stem (15 GB), 96 for 9000 steps at 151 images/s. Expected: SRCC and category
accuracy on the crops of the validation photographs, which hold several kinds of damage at once and all strengths,
0.821 and 0.791 after 5000 steps, 0.808 and 0.797 after 9000, 0.827 and 0.80 for their average (on every fifth crop):
more steps would learn the 168 photographs by heart. docs/liqe_nano.md has what the model does on whole photographs.
Verified here: these commands, without interruption, but that the crops were made in two parts and joined.
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
