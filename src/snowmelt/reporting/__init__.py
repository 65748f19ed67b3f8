"""Reporting: the run folder, and listeners that write what training tells."""

from snowmelt.reporting.benchmark_table import benchmark_sentence, benchmark_table
from snowmelt.reporting.cache_table import effects_table
from snowmelt.reporting.comparison_plot import draw_comparison
from snowmelt.reporting.comparison_table import budget_table, comparison_tables
from snowmelt.reporting.csv_cells import replace_file
from snowmelt.reporting.evaluation_plots import draw_evaluation
from snowmelt.reporting.evaluation_table import evaluation_tables
from snowmelt.reporting.layers import save_layers, write_layers
from snowmelt.reporting.not_finite import NotFiniteReport
from snowmelt.reporting.plan_table import plan_csv, plan_table, weights_table
from snowmelt.reporting.plots import draw_plots
from snowmelt.reporting.predictions import Prediction, make_panels, save_panels
from snowmelt.reporting.progress import ProgressDisplay
from snowmelt.reporting.run_folder import RunFolder
from snowmelt.reporting.summary import RunSummary
from snowmelt.reporting.survey_plots import classes_figure, contact_sheet, sizes_figure
from snowmelt.reporting.survey_table import finding_line, survey_tables
from snowmelt.reporting.tables import MetricTables, read_metrics
from snowmelt.reporting.tensorboard import TensorBoardLog
from snowmelt.reporting.text_log import TextLog, read_text_log
from snowmelt.reporting.validation_scores import ValidationScores

__all__ = [
    "MetricTables",
    "NotFiniteReport",
    "Prediction",
    "ProgressDisplay",
    "RunFolder",
    "RunSummary",
    "TensorBoardLog",
    "TextLog",
    "ValidationScores",
    "benchmark_sentence",
    "benchmark_table",
    "budget_table",
    "classes_figure",
    "comparison_tables",
    "contact_sheet",
    "draw_comparison",
    "draw_evaluation",
    "draw_plots",
    "effects_table",
    "evaluation_tables",
    "finding_line",
    "make_panels",
    "plan_csv",
    "plan_table",
    "read_metrics",
    "read_text_log",
    "replace_file",
    "save_layers",
    "save_panels",
    "sizes_figure",
    "survey_tables",
    "weights_table",
    "write_layers",
]
