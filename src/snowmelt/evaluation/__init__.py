"""Evaluation: scores from one confusion matrix, boundaries, calibration, groups, and pictures of predictions."""

from snowmelt.evaluation.boundaries import TOLERANCE, BoundaryScore, boundary_scores
from snowmelt.evaluation.by_image import confusion_by_image
from snowmelt.evaluation.calibration import BINS, Bin, Calibration
from snowmelt.evaluation.class_scores import ClassScores, class_scores, mean_of
from snowmelt.evaluation.image_groups import (
    Group,
    ImageCounts,
    brightness_of,
    by_brightness,
    by_size,
    counts_of_matrices,
)
from snowmelt.evaluation.metrics import Agreement, ConfusionMatrix, mean_iou, predict_classes
from snowmelt.evaluation.overlays import (
    class_colors,
    class_legend,
    color_mask,
    error_map,
    overlay_mask,
    prediction_panel,
)

__all__ = [
    "BINS",
    "TOLERANCE",
    "Agreement",
    "Bin",
    "BoundaryScore",
    "Calibration",
    "ClassScores",
    "ConfusionMatrix",
    "Group",
    "ImageCounts",
    "boundary_scores",
    "brightness_of",
    "by_brightness",
    "by_size",
    "class_colors",
    "class_legend",
    "class_scores",
    "color_mask",
    "confusion_by_image",
    "counts_of_matrices",
    "error_map",
    "mean_iou",
    "mean_of",
    "overlay_mask",
    "predict_classes",
    "prediction_panel",
]
