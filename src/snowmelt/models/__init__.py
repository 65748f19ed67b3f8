"""Networks by name, their weights, the blocks of their encoders, and freezing them."""

from snowmelt.models.blocks import EncoderBlock, encoder_blocks, unreached_parameters
from snowmelt.models.demand import refuse_demand
from snowmelt.models.features import Feature, FeatureTap, available_features, feature_channels
from snowmelt.models.folding import fold_norms
from snowmelt.models.identify import IdentifiedNetwork, identify_network
from snowmelt.models.network_keys import split_network
from snowmelt.models.networks import build_network
from snowmelt.models.normalisation import Normalisation, normalisation_of, normalise
from snowmelt.models.quicken import quicken
from snowmelt.models.soundness import find_flaws, refuse_flaws
from snowmelt.models.statistics import calibrate_norms
from snowmelt.models.strict_load import load_strictly
from snowmelt.models.thaw import Thaw
from snowmelt.models.weight_files import load_weights, read_metadata, save_weights
from snowmelt.models.weights import WeightsReport, choose_weights, load_encoder_weights

__all__ = [
    "EncoderBlock",
    "Feature",
    "FeatureTap",
    "IdentifiedNetwork",
    "Normalisation",
    "Thaw",
    "WeightsReport",
    "available_features",
    "build_network",
    "calibrate_norms",
    "choose_weights",
    "encoder_blocks",
    "feature_channels",
    "find_flaws",
    "fold_norms",
    "identify_network",
    "load_encoder_weights",
    "load_strictly",
    "load_weights",
    "normalisation_of",
    "normalise",
    "quicken",
    "read_metadata",
    "refuse_demand",
    "refuse_flaws",
    "save_weights",
    "split_network",
    "unreached_parameters",
]
