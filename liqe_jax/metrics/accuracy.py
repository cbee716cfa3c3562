"""Accuracy of scene and distortion predictions, as functions of arrays.

Letters: N images, S scenes (an image may have several), L labels of an attribute that has one.

All functions raise `DataError` for probabilities that are not finite and shapes that do not match; top-k
functions also for no images and for images without a scene.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from liqe_jax.errors import DataError


def top_k_hits(p_NxS: Float[np.ndarray, "N S"], scenes_NxS: Bool[np.ndarray, "N S"]) -> Bool[np.ndarray, "N S"]:
    """Marks the scenes of each image that are among its k most probable ones; k is its number of scenes."""
    # Among equal probabilities the earlier label ranks higher.
    p_NxS, scenes_NxS = _checked(p_NxS), np.asarray(scenes_NxS, bool)
    if p_NxS.shape != scenes_NxS.shape:
        raise DataError(f"Expected probabilities and scenes of the same shape; got {p_NxS.shape}, {scenes_NxS.shape}.")
    if not len(scenes_NxS) or not scenes_NxS.any(1).all():
        raise DataError("Expected at least one image, and at least one scene for each; remove images without a scene.")
    rank_NxS = np.argsort(np.argsort(-p_NxS, axis=1, kind="stable"), axis=1)
    return scenes_NxS & (rank_NxS < scenes_NxS.sum(1, keepdims=True))


def top_k_recall(p_NxS: Float[np.ndarray, "N S"], scenes_NxS: Bool[np.ndarray, "N S"]) -> float:
    """Share of all scene labels that `top_k_hits` marks.

    The reference's training code counts in the same way (zwx8981/LIQE, train_unique_clip_weight.py:578-600).
    """
    hits = top_k_hits(p_NxS, scenes_NxS)
    return float(hits.sum() / np.asarray(scenes_NxS, bool).sum())


def recall_by_scene(p_NxS: Float[np.ndarray, "N S"], scenes_NxS: Bool[np.ndarray, "N S"]) -> Float[np.ndarray, " S"]:
    """Recall of each scene; NaN for scenes that no image has."""
    return _share(top_k_hits(p_NxS, scenes_NxS).sum(0), np.asarray(scenes_NxS, bool).sum(0))


def accuracy(p_NxL: Float[np.ndarray, "N L"], label_N: Int[np.ndarray, " N"]) -> float:
    """Share of images whose most probable label is correct; negative labels are ignored. Errors as in `confusion`."""
    matrix = confusion(p_NxL, label_N)
    return float(np.trace(matrix) / matrix.sum())


def accuracy_by_label(p_NxL: Float[np.ndarray, "N L"], label_N: Int[np.ndarray, " N"]) -> Float[np.ndarray, " L"]:
    """Recall of each label; NaN for labels that no image has."""
    matrix = confusion(p_NxL, label_N)
    return _share(matrix.diagonal(), matrix.sum(1))


def confusion(p_NxL: Float[np.ndarray, "N L"], label_N: Int[np.ndarray, " N"]) -> Int[np.ndarray, "L L"]:
    """Images by true label (rows) and most probable one; DataError where no label is known, or one is out of range."""
    p_NxL, label_N = _checked(p_NxL), np.asarray(label_N)
    if label_N.shape != p_NxL.shape[:1]:
        raise DataError(f"Expected one label for each of {len(p_NxL)} images; got shape {label_N.shape}.")
    labels = p_NxL.shape[1]
    known = label_N >= 0
    if not known.any():
        raise DataError(f"None of the {len(label_N)} images has a known label; accuracy needs at least one.")
    if label_N.max() >= labels:
        raise DataError(f"Label {label_N.max()} is out of range; expected labels from 0 to {labels - 1}.")
    cells = label_N[known] * labels + p_NxL[known].argmax(1)
    return np.bincount(cells, minlength=labels * labels).reshape(labels, labels)


def scene_confusion(p_NxS: Float[np.ndarray, "N S"], scenes_NxS: Bool[np.ndarray, "N S"]) -> Int[np.ndarray, "S S"]:
    """`confusion` over the images that have exactly one scene; all zeros if no image does."""
    p_NxS, scenes_NxS = _checked(p_NxS), np.asarray(scenes_NxS, bool)
    single = scenes_NxS.sum(1) == 1
    if not single.any():
        return np.zeros((p_NxS.shape[1],) * 2, np.int64)
    return confusion(p_NxS[single], scenes_NxS[single].argmax(1))


def _checked(p: np.ndarray) -> np.ndarray:
    p = np.asarray(p)
    if p.ndim != 2 or not np.isfinite(p).all():
        raise DataError(f"Expected finite probabilities of shape [images, labels]; got shape {p.shape}, or a NaN.")
    return p


def _share(count: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(count, whole, out=np.full(len(whole), np.nan), where=whole > 0)
