"""LIQE's labels, sentences and task sets.

The released weights were trained with these very strings, among them `still_life` and `a animal`. Source: zwx8981/LIQE
at a64655f, train_unique_clip_weight.py:19-52 (labels and raw-to-category map) and :88 (sentences).
"""

from __future__ import annotations

from types import MappingProxyType

from liqe_jax.imports import find_object
from liqe_jax.tasks import Attribute, TaskSet

QUALITY = Attribute("quality", ("bad", "poor", "fair", "good", "perfect"), values=(1, 2, 3, 4, 5))

SCENE = Attribute(
    "scene", ("animal", "cityscape", "human", "indoor", "landscape", "night", "plant", "still_life", "others")
)

DISTORTION = Attribute(
    "distortion",
    (
        "jpeg2000 compression",
        "jpeg compression",
        "noise",
        "blur",
        "color",
        "contrast",
        "overexposure",
        "underexposure",
        "spatial",
        "quantization",
        "other",
    ),
)

# The data sets' own distortion names -> the eleven categories. `shifting` is a colour shift
# that the reference files under blur, `fastfading` is JPEG 2000 sent over a noisy channel.
CATEGORY_OF_RAW_DISTORTION = MappingProxyType(
    {
        "jpeg2000 compression": "jpeg2000 compression",
        "jpeg compression": "jpeg compression",
        "white noise": "noise",
        "gaussian blur": "blur",
        "fastfading": "jpeg2000 compression",
        "fnoise": "noise",
        "contrast": "contrast",
        "lens": "blur",
        "motion": "blur",
        "diffusion": "color",
        "shifting": "blur",
        "color quantization": "quantization",
        "oversaturation": "color",
        "desaturation": "color",
        "white with color": "noise",
        "impulse": "noise",
        "multiplicative": "noise",
        "white noise with denoise": "noise",
        "brighten": "overexposure",
        "darken": "underexposure",
        "shifting the mean": "other",
        "jitter": "spatial",
        "noneccentricity patch": "spatial",
        "pixelate": "spatial",
        "quantization": "quantization",
        "color blocking": "spatial",
        "sharpness": "contrast",
        "realistic blur": "blur",
        "realistic noise": "noise",
        "underexposure": "underexposure",
        "overexposure": "overexposure",
        "realistic contrast change": "contrast",
        "other realistic": "other",
    }
)

JOINT = TaskSet(
    "joint",
    (QUALITY, SCENE, DISTORTION),
    "a photo of a {scene} with {distortion} artifacts, which is of {quality} quality",
)
QUALITY_SCENE = TaskSet("quality_scene", (QUALITY, SCENE), "a photo of a {scene}, which is of {quality} quality")
QUALITY_DISTORTION = TaskSet(
    "quality_distortion", (QUALITY, DISTORTION), "a photo with {distortion} artifacts, which is of {quality} quality"
)
QUALITY_ONLY = TaskSet("quality", (QUALITY,), "a photo with {quality} quality")

TASK_SETS = MappingProxyType({tasks.name: tasks for tasks in (JOINT, QUALITY_SCENE, QUALITY_DISTORTION, QUALITY_ONLY)})


def find_tasks(tasks: TaskSet | str | None, default: TaskSet | None) -> TaskSet:
    """The task set that is meant: itself, a key of `TASK_SETS`, or the import path of one.

    For None it is `default`, or `JOINT` where that is None too. An import path comes from the user, never from a file:
    its module is run. Raises as `find_object`.
    """
    if isinstance(tasks, TaskSet):
        return tasks
    if tasks is None:
        return default or JOINT
    return find_object(tasks, "tasks", TASK_SETS, "a liqe_jax.TaskSet", TaskSet)
