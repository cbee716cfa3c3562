"""A small CLIP from nothing, on damaged crops of free photographs: the model inside the package.

    python tools/photographs.py --out photos
    python -m liqe_jax.synthetic.crops photos data/crops --rounds 2
    python -m liqe_jax.synthetic.crops photos data/crops-table --table
    python train.py --config=configs/liqe_nano.py:varied --workdir=runs/varied
    python train.py --config=configs/liqe_nano.py:table --workdir=runs/table
    python -m liqe_jax.synthetic.crops photos data/crops-table-2 --table --seed 10
    python -m liqe_jax.synthetic.crops photos data/crops-table-3 --table --seed 11
    python -m liqe_jax.synthetic.crops photos data/crops-2 --rounds 1 --seed 12
    python train.py --config=configs/liqe_nano.py:fresh --workdir=runs/fresh
    liqe average runs/table/best_quality runs/fresh/best_quality --output runs/mean
    python -m liqe_jax.synthetic.crops photos data/crops-pairs --pairs --seed 20
    python -m liqe_jax.synthetic.crops photos data/crops-3 --rounds 1 --seed 21 --limit 172
    python train.py --config=configs/liqe_nano.py:pairs --workdir=runs/pairs
    liqe average runs/mean runs/pairs/best_quality --output liqe_nano --dtype float16

The vision tower is given frequencies and tones instead of pixels (`liqe_jax/model/stem.py`), from a file that the first
start writes, and half of a crop's squares in every step. It learns from damage of every kind, strength and make first;
then two crops in three are of KADID-10k's types and levels as they are, whose opinion scores were measured; then the
same with new crops, since what limits it is how much it has seen of each photograph; then pairs of crops of one view,
which are judged by their mean as a photograph is, with other makes among them.

Hardware and time: two CPU cores with AVX-512; 6 minutes for the photographs, 25 and 9 for the first 71,536 and 73,640
crops (11 GB each), 9 and 7 for their stem (9 GB each), 38 for the first stage at 255 images/s, 71 for the second at
285. The third on two of a newer processor, twice as quick: 5 and 4 minutes for 73,640 crops each, 10 for 35,768
(other work beside), 11 for the stem of all (22 GB), 55 for training at 560. The fourth on two cores without AVX-512: 20
minutes for 145,040 crops in pairs and 3 for 11,696 of any damage, 19 for the stem (19 GB), 34 for training.
Expected, on crops of the 25 validation photographs: SRCC 0.847 and category accuracy 0.804 after the first stage,
whose crops hold several kinds of damage at once and all strengths. In the second 0.850 and 0.822 on those and 0.905
and 0.863 on crops of the table after 7000 steps, 0.851 and 0.829 and 0.904 and 0.874 after 9800, the best. In the
third, on new crops of 24 of them, 0.927, 0.931 and 0.884 (table, table, varied) before it, 0.933, 0.937 and 0.887
after its last step, the best. In the fourth, on crops one by one, 0.878 and 0.839 (pairs, with other makes) and 0.857
and 0.811 (varied) after its last step, the best. Its mean with what it started from was better on pairs of validation
than either; docs/liqe_nano.md has what `liqe_nano` does on whole photographs.
Verified here: these commands, with breaks between the stages; four photographs were taken off the list by hand after
the first command. Between the stages a row's mean in LayerNorm has been summed in another order, and eight
photographs in black and white were taken off: the first two stages saw them, the third's crops were made with them on
the list and trained on without them, the third started from the model of the second in float16, and the mean that the
fourth started from was that of the second and the third in float16. So another run will differ.
"""

from ml_collections import ConfigDict

from liqe_jax.train.settings import default_config


def get_config(stage: str = "varied") -> ConfigDict:
    """The run of a stage: "varied", "table", "fresh" or "pairs"."""
    if stage not in ("varied", "table", "fresh", "pairs"):
        raise ValueError(f'The stages are "varied", "table", "fresh" and "pairs"; got {stage!r}.')
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
    if stage != "varied":
        config.loss_weights = (1.0, 1.0, 0.5, 0.5, 0.1)
    if stage == "table":
        config.init = "runs/varied/best_quality"
        config.data.sets = (("crops-table", 64), ("crops", 32))
        config.epochs, config.steps_per_epoch = 9, 1400
        config.optimizer.learning_rate = 7e-4
    if stage == "fresh":
        config.init = "runs/table/best_quality"
        config.data.sets = (("crops-table-2", 32), ("crops-table-3", 32), ("crops-2", 32))
        config.epochs, config.steps_per_epoch = 12, 1600
        config.optimizer.learning_rate = 5e-4
    if stage == "pairs":
        config.init = "runs/mean"
        config.data.sets, config.data.patches = (("crops-pairs", 36), ("crops-3", 12)), 2
        config.epochs, config.steps_per_epoch = 3, 1500
        config.optimizer.learning_rate = 5e-4
    return config
