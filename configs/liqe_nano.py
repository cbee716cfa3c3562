r"""A small CLIP from nothing, on damaged crops of free photographs: the model inside the package.

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
    liqe average runs/mean runs/pairs/best_quality --output runs/pairs-mean --dtype float16
    python -m liqe_jax.synthetic.crops photos data/crops-pairs-2 --pairs --seed 30
    python -m liqe_jax.synthetic.crops photos data/crops-4 --rounds 1 --seed 31 --limit 172
    python train.py --config=configs/liqe_nano.py:enlarged --workdir=runs/enlarged
    liqe average runs/pairs-mean runs/enlarged/best_quality --output runs/enlarged-mean --dtype float16
    python train.py --config=configs/liqe_nano.py:mosaic --workdir=runs/mosaic
    liqe average runs/pairs-mean runs/enlarged/best_quality runs/mosaic/best_quality \
        --output runs/mosaic-mean --dtype float16
    python -m liqe_jax.synthetic.crops photos data/crops-pairs-3 --pairs --looks --seed 40
    python -m liqe_jax.synthetic.crops photos data/crops-5 --rounds 1 --looks --seed 41 --limit 172
    python train.py --config=configs/liqe_nano.py:looks --workdir=runs/looks
    liqe average runs/mosaic-mean runs/looks/best_quality runs/looks/last --output runs/looks-mean --dtype float16
    python -m liqe_jax.synthetic.crops photos data/crops-resized --resized --looks --seed 42 --limit 172
    python train.py --config=configs/liqe_nano.py:resized --workdir=runs/resized
    liqe average runs/mosaic-mean runs/looks-mean runs/resized/best_quality --shares 2 1 2 \
        --output runs/resized-mean --dtype float16
    python -m liqe_jax.synthetic.crops photos data/crops-pairs-4 --pairs --looks --stored --seed 70
    python -m liqe_jax.synthetic.crops photos data/crops-6 --rounds 1 --looks --stored --seed 71 --limit 172
    python -m liqe_jax.synthetic.crops photos data/crops-resized-2 --resized --looks --stored --seed 72 --limit 172
    python train.py --config=configs/liqe_nano.py:stored --workdir=runs/stored
    liqe average runs/resized-mean runs/stored/last --shares 2 1 --output runs/stored-mean --dtype float16
    python train.py --config=configs/liqe_nano.py:stored-2 --workdir=runs/stored-2
    liqe average runs/resized-mean runs/stored-2/last --shares 2 1 --output runs/stored-2-mean --dtype float16
    python train.py --config=configs/liqe_nano.py:stored-3 --workdir=runs/stored-3
    liqe average runs/resized-mean runs/stored-3/last --output liqe_nano --dtype float16

The vision tower is given frequencies and tones instead of pixels (`liqe_jax/model/stem.py`), from a file that the
first start writes, and half of a crop's squares in every step. It learns from damage of every kind, strength and make
first; then two crops in three are of KADID-10k's types and levels as they are, whose opinion scores were measured;
then the same with new crops, since what limits it is how much it has seen of each photograph; then pairs of crops of
one view, which are judged by their mean as a photograph is, with other makes among them; then more of those, longer,
of photographs some of which are enlarged first; then the same, with images mixed of two photographs; then with other
tones, colours and proportions of each photograph; then with pictures among them that were enlarged after the damage;
then three times with new crops of all these, most of which are stored as JPEG, as WebP or with a little noise.

Hardware and time: two CPU cores with AVX-512; 6 minutes for the photographs, 25 and 9 for the first 71,536 and 73,640
crops (11 GB each), 9 and 7 for their stem (9 GB each), 38 for the first stage at 255 images/s, 71 for the second at
285. The third on two of a newer processor, twice as quick: 5 and 4 minutes for 73,640 crops each, 10 for 35,768
(other work beside), 11 for the stem of all (22 GB), 55 for training at 560. The fourth on two cores without AVX-512:
20 minutes for 145,040 crops in pairs and 3 for 11,696 of any damage, 19 for the stem (19 GB), 34 for training. The
fifth and sixth on two with AVX-512's bfloat16: 15 minutes (other work beside) for 155,424 crops in pairs, 3 for
11,696, 10 for the stem (20 GB), 30 and 21 for training at 820 and 800 crops/s (in the first minute 700, in float32
520). The seventh and eighth on the same: 14 and 2 minutes for 155,424 and 11,696 crops, 12 for their stem, 33 for
training at 800 crops/s; 51,600 crops beside it, not timed, 3 for their stem, 15 for training at 740. The last three
on the same: 14, 2 and 5 minutes for 155,424, 11,712 and 51,616 crops, 13 for their stem (26 GB), 40, 36 and 31 for
training at 650 to 710 crops/s.
Expected, on crops of the 25 validation photographs: SRCC 0.847 and category accuracy 0.804 after the first stage,
whose crops hold several kinds of damage at once and all strengths. In the second 0.850 and 0.822 on those and 0.905
and 0.863 on crops of the table after 7000 steps, 0.851 and 0.829 and 0.904 and 0.874 after 9800, the best. In the
third, on new crops of 24 of them, 0.927, 0.931 and 0.884 (table, table, varied) before it, 0.933, 0.937 and 0.887
after its last step, the best. In the fourth, on crops one by one, 0.878 and 0.839 (pairs, with other makes) and 0.857
and 0.811 (varied) after its last step, the best. Its mean with what it started from was better on pairs of validation
than either. In the fifth, on new crops one by one, SRCC 0.843 and categories 0.842 on the average of both sets after
14,000 steps, the best; in the sixth 0.845 and 0.826 after 7,500; in the seventh 0.861 and 0.806 after 12,000; in the
eighth, a third of whose crops are of enlarged pictures, 0.824 and 0.783 after its last step; in the last three, on
crops most of which are stored, 0.796 and 0.750, 0.801 and 0.753, and 0.799 and 0.744 after their last steps.
docs/liqe_nano.md has what `liqe_nano`, a mean, does on whole photographs.
Verified here: these commands, with breaks between the stages, the last two under other names; four photographs were
taken off the list by hand after the first command. Between the stages a row's mean in LayerNorm has been summed in
another order, and eight photographs in black and white were taken off: the first two stages saw them, the third's
crops were made with them on the list and trained on without them, the third started from the model of the second in
float16, and the mean that the fourth started from was that of the second and the third in float16. The fourth's pairs
were made with 15 undamaged views of a photograph instead of 25, two in five of other makes instead of half, none of a
shaken hand, and nothing enlarged; before the seventh no curve of tones was among the other makes, and in it and the
eighth such a curve could go the other way by up to 0.04 in places. In the first eight another make was taken where it
came nowhere near the distance of ours, too: up to half of the pairs of blur and motion blur at level 1 were damaged
visibly and labelled as undamaged, and some of the strongest damage was weaker than its label. So another run will
differ.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from ml_collections import ConfigDict

from liqe_jax.train.settings import default_config


class Stage(NamedTuple):
    """What tells a stage from the others.

    Attributes:
      init: what it starts from.
      sets: names and images per step.
      epochs, steps_per_epoch, learning_rate: how long, and how fast at most.
      patches: of each image.
      dtype: operands of matrix products.
      opinion: weight of the squared difference from the opinion score.
      mosaic: share of images that are mixed of two photographs.
    """

    init: str
    sets: tuple[tuple[str, int], ...]
    epochs: int
    steps_per_epoch: int
    learning_rate: float
    patches: int = 1
    dtype: str = "float32"
    opinion: float = 1.0
    mosaic: float = 0.0


# Three stages learn from the same crops.
STORED = (("crops-pairs-4", 30), ("crops-resized-2", 12), ("crops-6", 6))

STAGES: Mapping[str, Stage] = MappingProxyType(
    {
        "varied": Stage("random", (("crops", 96),), 6, 1000, 1e-3, opinion=0.5),
        "table": Stage("runs/varied/best_quality", (("crops-table", 64), ("crops", 32)), 9, 1400, 7e-4),
        "fresh": Stage(
            "runs/table/best_quality", (("crops-table-2", 32), ("crops-table-3", 32), ("crops-2", 32)), 12, 1600, 5e-4
        ),
        "pairs": Stage("runs/mean", (("crops-pairs", 36), ("crops-3", 12)), 3, 1500, 5e-4, patches=2),
        "enlarged": Stage(
            "runs/pairs-mean", (("crops-pairs-2", 36), ("crops-4", 12)), 8, 2000, 5e-4, patches=2, dtype="bfloat16"
        ),
        "mosaic": Stage(
            "runs/enlarged-mean",
            (("crops-pairs-2", 36), ("crops-4", 12)),
            4,
            2500,
            5e-4,
            patches=2,
            dtype="bfloat16",
            mosaic=0.7,
        ),
        "looks": Stage(
            "runs/mosaic-mean", (("crops-pairs-3", 36), ("crops-5", 12)), 8, 2000, 5e-4, patches=2, dtype="bfloat16"
        ),
        "resized": Stage(
            "runs/looks-mean",
            (("crops-pairs-3", 24), ("crops-resized", 18), ("crops-5", 6)),
            3,
            2000,
            5e-4,
            patches=2,
            dtype="bfloat16",
        ),
        "stored": Stage("runs/resized-mean", STORED, 8, 2000, 5e-4, patches=2, dtype="bfloat16", mosaic=0.35),
        "stored-2": Stage("runs/stored-mean", STORED, 7, 2000, 3e-4, patches=2, dtype="bfloat16", mosaic=0.35),
        "stored-3": Stage("runs/stored-2-mean", STORED, 7, 2000, 2e-4, patches=2, dtype="bfloat16", mosaic=0.35),
    }
)


def get_config(stage: str = "varied") -> ConfigDict:
    """The run of one of `STAGES`."""
    if stage not in STAGES:
        raise ValueError(f"The stages are {', '.join(STAGES)}; got {stage!r}.")
    this = STAGES[stage]
    config = default_config()
    config.name = "liqe_nano"
    config.licence = "Apache-2.0"
    config.preprocess = "even"
    config.seed = 19901116
    config.init = this.init
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
    config.loss_weights = (1.0, this.opinion, 0.5, 0.5, 0.1)
    config.weighting = "equal"
    config.dtype = this.dtype
    config.data.sets = this.sets
    config.data.split = "photographs"
    config.data.patches = this.patches
    config.data.stored_stem = True
    config.data.mosaic = this.mosaic
    config.data.test = ("none",)
    config.square_dropout = 0.5
    config.epochs, config.steps_per_epoch = this.epochs, this.steps_per_epoch
    config.optimizer.learning_rate = this.learning_rate
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 200
    config.optimizer.weight_decay = 0.05
    config.optimizer.clip_norm = 1.0
    config.validation_batch, config.validation_patches = 64, 1  # crops have room for one
    config.checkpoint.every_steps = 500
    config.log_every_steps = 50
    return config
