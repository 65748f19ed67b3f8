"""Predicting: pictures of any size and the frames of videos, through a network that takes batches of one size."""

from snowmelt.inference.answers import Answer, class_probabilities
from snowmelt.inference.predictor import Network, Picture, Prediction, Predictor
from snowmelt.inference.sheets import Fit, Native, Piece, Sheet, Tiles, Whole
from snowmelt.inference.video import LOSSLESS, VIDEO_SUFFIXES, VIEWABLE, VideoFile, VideoWriter, opencv
from snowmelt.inference.windows import MOST_OVERLAP, Window, cover

__all__ = [
    "LOSSLESS",
    "MOST_OVERLAP",
    "VIDEO_SUFFIXES",
    "VIEWABLE",
    "Answer",
    "Fit",
    "Native",
    "Network",
    "Picture",
    "Piece",
    "Prediction",
    "Predictor",
    "Sheet",
    "Tiles",
    "VideoFile",
    "VideoWriter",
    "Whole",
    "Window",
    "class_probabilities",
    "cover",
    "opencv",
]
