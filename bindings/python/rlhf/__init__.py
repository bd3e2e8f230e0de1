"""librlhf for Python: aligns language models with human preferences on ordinary CPUs.

    import rlhf

    @rlhf.reward
    def brevity(completions, **columns):
        return [-len(text) for text in completions]

    trainer = rlhf.PPOTrainer("my-model", reward_funcs=brevity, train_dataset=[{"prompt": "Say hello."}])
    trainer.train()
    trainer.save_model("shorter")

The C headers (include/rlhf/*.h) say what each call promises; README.md beside this package is the way in.
"""

from __future__ import annotations

from . import evaluation, experimental, recipe
from ._arrays import have_numpy
from ._ffi import library_path
from .batch import Batch
from .check import check_objective
from .context import Context
from .dataset import Dataset
from .errors import (
    BusyError,
    CanceledError,
    EndError,
    Error,
    ForkedError,
    FormatError,
    GradientError,
    InvalidError,
    IOError,
    NonFiniteError,
    OutOfMemoryError,
    RangeError,
    UnsupportedError,
    UserError,
)
from .memory_plan import MemoryPlan
from .model_options import ModelOptions
from .objective import (
    AdvantageInputs,
    Objective,
    PairLossInputs,
    PolicyLossInputs,
    RewardInputs,
    TokenLossInputs,
    ValueLossInputs,
    objective,
)
from .optimizer import Optimizer, OptimizerOptions
from .order import order
from .pipeline import Pipeline
from .policy import Parameter, Policy
from .recipe import Recipe
from .reference import Reference
from .reward_model import RewardModel
from .rollout import Rollout, RolloutOptions, distribution
from .scorer import RewardFunction, Scorer, reward
from .tokenizer import Tokenizer
from .trainer import (
    Metrics,
    PairwiseTrainer,
    PPOTrainer,
    PretrainTrainer,
    Progress,
    RAFTTrainer,
    ReinforceTrainer,
    RewardTrainer,
    SFTTrainer,
    Trainer,
    TrainOutput,
)
from .value_model import ValueModel
from .version import __version__, library_version

__all__ = [
    "AdvantageInputs",
    "Batch",
    "BusyError",
    "CanceledError",
    "Context",
    "Dataset",
    "EndError",
    "Error",
    "ForkedError",
    "FormatError",
    "GradientError",
    "IOError",
    "InvalidError",
    "MemoryPlan",
    "Metrics",
    "ModelOptions",
    "NonFiniteError",
    "Objective",
    "Optimizer",
    "OptimizerOptions",
    "OutOfMemoryError",
    "PPOTrainer",
    "PairLossInputs",
    "PairwiseTrainer",
    "Parameter",
    "Pipeline",
    "Policy",
    "PolicyLossInputs",
    "PretrainTrainer",
    "Progress",
    "RAFTTrainer",
    "RangeError",
    "Recipe",
    "Reference",
    "ReinforceTrainer",
    "RewardFunction",
    "RewardInputs",
    "RewardModel",
    "RewardTrainer",
    "Rollout",
    "RolloutOptions",
    "SFTTrainer",
    "Scorer",
    "TokenLossInputs",
    "Tokenizer",
    "TrainOutput",
    "Trainer",
    "UnsupportedError",
    "UserError",
    "ValueLossInputs",
    "ValueModel",
    "__version__",
    "check_objective",
    "distribution",
    "evaluation",
    "experimental",
    "have_numpy",
    "library_path",
    "library_version",
    "objective",
    "order",
    "recipe",
    "reward",
]
