"""What a choice is worth: looked up in a table, or really trained."""

from brpnas.evaluate.evaluator import Evaluation, Evaluator
from brpnas.evaluate.images import Images, Split, read_images, read_split
from brpnas.evaluate.joined import JoinedEvaluator
from brpnas.evaluate.lookup import DeployedTableEvaluator, TableEvaluator
from brpnas.evaluate.trained import Training, TrainingEvaluator
from brpnas.evaluate.training import Protocol, accuracy_pct, train

__all__ = [
    "DeployedTableEvaluator",
    "Evaluation",
    "Evaluator",
    "Images",
    "JoinedEvaluator",
    "Protocol",
    "Split",
    "TableEvaluator",
    "Training",
    "TrainingEvaluator",
    "accuracy_pct",
    "read_images",
    "read_split",
    "train",
]
