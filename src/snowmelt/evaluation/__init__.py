"""Evaluation: scores from one confusion matrix, and pictures of predictions."""

from snowmelt.evaluation.by_image import confusion_by_image
from snowmelt.evaluation.metrics import Agreement, ConfusionMatrix, mean_iou, predict_classes
from snowmelt.evaluation.overlays import class_colors, color_mask, error_map, overlay_mask, prediction_panel

__all__ = [
    "Agreement",
    "ConfusionMatrix",
    "class_colors",
    "color_mask",
    "confusion_by_image",
    "error_map",
    "mean_iou",
    "overlay_mask",
    "predict_classes",
    "prediction_panel",
]
