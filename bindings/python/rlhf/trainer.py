"""Trainers: one run of a recipe. Names and keywords are TRL's where it has them."""

from __future__ import annotations

import ctypes
import dataclasses
import os
from typing import Any, Callable, Dict, Iterator, Mapping, NamedTuple, Sequence, Union

from . import _callbacks, _ffi, _handle
from .context import Context, ContextHandle, resolve
from .dataset import as_dataset
from .objective import ObjectiveLike, as_objective
from .policy import Policy
from .recipe import Recipe, copy_of
from .reference import Reference
from .reward_model import RewardModel
from .scorer import Scorer
from .tokenizer import Tokenizer
from .value_model import ValueModel

_PHASES = {
    _ffi.RLHF_PHASE_ROLLOUT: "rollout",
    _ffi.RLHF_PHASE_SCORING: "scoring",
    _ffi.RLHF_PHASE_UPDATE: "update",
    _ffi.RLHF_PHASE_SAVE: "save",
    _ffi.RLHF_PHASE_EVAL: "eval",
}


class Metrics(Dict[str, float]):
    """Numbers of a logged step by TRL's names; the library's own begin with "rlhf/"."""

    step: int = 0
    total_steps: int = 0


class Progress(NamedTuple):
    """Where a run stands. phase: what runs now, "" between calls; seconds: spent in each phase, "all" in all."""

    phase: str
    step: int
    total_steps: int
    tokens: int
    seconds: Dict[str, float]


class TrainOutput(NamedTuple):
    """What `train` returns: steps done and the last metrics."""

    global_step: int
    metrics: Dict[str, float]


def _read_metrics(view: Any) -> Metrics:
    metrics = Metrics({view.name[i].decode(): view.value[i] for i in range(view.count)})
    metrics.step, metrics.total_steps = int(view.step), int(view.total_steps)
    return metrics


def _read_progress(view: Any) -> Progress:
    seconds = {name: view.seconds[number] for number, name in _PHASES.items()}
    seconds["all"] = view.seconds[0]
    return Progress(_PHASES.get(view.phase, ""), int(view.step), int(view.total_steps), int(view.tokens), seconds)


class _Listener:
    """What C calls. It knows nothing of the trainer, so that the trainer can go while C still holds this."""

    def __init__(self, on_metrics: Any, on_progress: Any) -> None:
        self.on_metrics, self.on_progress = on_metrics, on_progress
        self.history: list[dict[str, float]] = []
        self.fresh: list[Metrics] = []

    def metrics(self, pointer: Any) -> None:
        metrics = _read_metrics(pointer.contents)
        self.history.append({"step": metrics.step, **metrics})
        self.fresh.append(metrics)
        if self.on_metrics is not None:
            self.on_metrics(metrics)

    def progress(self, pointer: Any) -> None:
        self.on_progress(_read_progress(pointer.contents))


class _Listening(_handle.Owner):
    """A trainer's share: with it goes what its callbacks stand on."""

    __slots__ = ("number",)

    def __init__(self, core: _handle.Core, listener: _Listener) -> None:
        super().__init__(core, _ffi.lib.rlhf_trainer_release)
        self.number = _callbacks.keep(listener)

    def gone(self) -> None:
        _callbacks.forget(self.number)


def _settings(args: Any) -> dict[str, Any]:
    """Settings from a dict, a dataclass (TRL's ...Config) or an object with to_dict(); None = not set."""
    if args is None:
        return {}
    if isinstance(args, Mapping):
        found = dict(args)
    elif dataclasses.is_dataclass(args) and not isinstance(args, type):
        found = dataclasses.asdict(args)
    elif hasattr(args, "to_dict"):
        found = args.to_dict()
    else:
        raise TypeError(f"args: a dict of settings is needed, not {type(args).__name__}")
    return {key: value for key, value in found.items() if value is not None}


Source = Union[str, "os.PathLike[str]"]


class Trainer(ContextHandle):
    """One run of a method: "pretrain", "sft", "reward", "raft", "reinforce", "pairwise" or "ppo".

    Settings are the recipe's keys (`rlhf.recipe.keys(method)`), in `args` or as keywords.

    >>> @rlhf.reward
    ... def many_a(completions, **columns):
    ...     return [text.count("a") for text in completions]
    >>> trainer = rlhf.Trainer("reinforce", model=policy.clone(), reward_funcs=many_a, learning_rate=1e-3,
    ...     train_dataset=[{"prompt": "a cat"}, {"prompt": "tom"}], response_length=4, max_steps=2)
    >>> trainer.train().global_step
    2
    >>> [entry["step"] for entry in trainer.log_history]
    [1, 2]
    """

    _release_name = "rlhf_trainer_release"

    def __init__(
        self,
        method: str | Recipe,
        model: Policy | RewardModel | Source | None = None,
        args: Any = None,
        *,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        reward_funcs: Any = None,
        reward_weights: Sequence[float] | None = None,
        gold_funcs: Any = None,
        processing_class: Tokenizer | Source | None = None,
        tokenizer: Tokenizer | Source | None = None,
        ref_model: Reference | Policy | Source | None = None,
        reward_model: RewardModel | Source | None = None,
        value_model: ValueModel | Source | None = None,
        objective: ObjectiveLike | None = None,
        reward_objective: ObjectiveLike | None = None,
        advantage_objective: ObjectiveLike | None = None,
        output_dir: Source | None = None,
        resume: bool = False,
        overwrite: bool = False,
        on_metrics: Callable[[Metrics], Any] | None = None,
        on_progress: Callable[[Progress], Any] | None = None,
        context: Context | None = None,
        **settings: Any,
    ) -> None:
        """model: a Policy (trained in place) or a directory; for "reward" also a RewardModel. train_dataset: a Dataset,
        a path, or rows: any iterable of dicts. reward_funcs: functions, reward models or their directories, one or a
        list, weighted by reward_weights. ref_model: what KL is measured to; none = the policy as it is at the start.
        on_metrics(metrics) and on_progress(progress) are called as the run goes; an exception in them stops it."""
        given = [model, method, ref_model, reward_model, value_model, tokenizer, processing_class, train_dataset]
        if context is None:
            context = next((part.context for part in given if isinstance(part, ContextHandle)), None)
        super().__init__(resolve(context))
        if isinstance(method, Recipe):
            recipe = copy_of(method, self.context)
        else:
            recipe = Recipe(method, context=self.context)
        recipe.update(_settings(args))
        recipe.update(settings)
        self._recipe = recipe
        self._model: Policy | RewardModel | None = None
        self._tokenizer: Tokenizer | None = None
        options = _ffi.TrainerOptions()
        _ffi.lib.rlhf_trainer_options_init(ctypes.byref(options), ctypes.sizeof(options))
        held: list[_handle.Handle] = []  # C takes its own shares

        def put(name: str, handle: _handle.Handle | None) -> None:
            if handle is not None:
                self._core.check(handle.owner)
                held.append(handle)
                setattr(options, name, handle.owner.cell)

        self._put_model(model, put)
        self._put_tokenizer(tokenizer if tokenizer is not None else processing_class, model, put)
        if isinstance(ref_model, Policy):
            ref_model = Reference.freeze(ref_model)
        put("reference", self._from(ref_model, Reference))
        if reward_model is not None:
            put("reward_model", self._from(reward_model, RewardModel))
        put("value_model", self._from(value_model, ValueModel))
        template = recipe["chat_template"]
        for name, rows in (("dataset", train_dataset), ("eval_dataset", eval_dataset)):
            if rows is not None:
                put(name, as_dataset(rows, self.context, template))
        for name, functions, weights in (("scorer", reward_funcs, reward_weights), ("gold_scorer", gold_funcs, None)):
            if functions is not None:
                scorer = functions if isinstance(functions, Scorer) else None
                put(name, scorer or Scorer(functions, weights=weights, context=self.context))
        for name, source in (
            ("objective", objective),
            ("reward_objective", reward_objective),
            ("advantage_objective", advantage_objective),
        ):
            if source is not None:
                put(name, as_objective(source, self.context))
        directory = None if output_dir is None else _handle.path_bytes(output_dir)
        options.output_dir = directory
        self._directory = str(recipe["output_dir"]) if output_dir is None else os.fspath(output_dir)
        options.resume, options.overwrite = int(resume), int(overwrite)
        self._listener = _Listener(on_metrics, on_progress)
        owner = _Listening(self._core, self._listener)
        options.user_data = owner.number
        options.on_metrics = _callbacks.metrics
        if on_progress is not None:
            options.on_progress = _callbacks.progress
        self._core.call(
            _ffi.lib.rlhf_trainer_create, ctypes.byref(owner.cell), self.context, recipe, ctypes.byref(options),
            cancellable=True,
        )  # fmt: skip
        self._owner = owner

    def _put_model(self, model: Any, put: Callable[[str, Any], None]) -> None:
        if model is None:
            return
        if isinstance(model, (str, os.PathLike)):
            self._recipe["model_name_or_path"] = model
        elif isinstance(model, Policy):
            self._model = model if self._recipe.method != "reward" else None
            put("policy", model)
        elif isinstance(model, RewardModel):
            if self._recipe.method != "reward":
                raise TypeError(f"model: {self._recipe.method} trains a Policy, not a RewardModel")
            self._model = model
            put("reward_model", model)
        else:
            raise TypeError(f"model: a Policy or a directory is needed, not {type(model).__name__}")

    def _put_tokenizer(self, tokenizer: Any, model: Any, put: Callable[[str, Any], None]) -> None:
        if isinstance(tokenizer, (str, os.PathLike)):
            tokenizer = Tokenizer(tokenizer, context=self.context)
        elif tokenizer is None and isinstance(model, Policy):
            tokenizer = model.tokenizer
        elif tokenizer is None and isinstance(model, (str, os.PathLike)):
            path = self._recipe["tokenizer_name_or_path"]
            tokenizer = Tokenizer(path or model, context=self.context)
        if tokenizer is not None and not isinstance(tokenizer, Tokenizer):
            raise TypeError(f"tokenizer: a rlhf.Tokenizer or its directory is needed, not {type(tokenizer).__name__}")
        self._tokenizer = tokenizer
        put("tokenizer", tokenizer)

    def _from(self, source: Any, kind: Any) -> Any:
        return kind(source, context=self.context) if isinstance(source, (str, os.PathLike)) else source

    # ---- running ----

    def train(self) -> TrainOutput:
        """Runs to the end, with checkpoints, model and receipt if there is an output_dir. Ctrl-C stops it between
        steps and leaves a checkpoint to resume from."""
        self._call(_ffi.lib.rlhf_trainer_run, cancellable=True)
        self._listener.fresh.clear()
        history = self._listener.history
        return TrainOutput(self.progress().step, dict(history[-1]) if history else {})

    def step(self) -> Metrics | None:
        """Takes one step; returns its metrics if it was logged. EndError after the last."""
        self._listener.fresh.clear()
        self._call(_ffi.lib.rlhf_trainer_step, cancellable=True)
        return self._listener.fresh.pop() if self._listener.fresh else None

    def __iter__(self) -> Iterator[Metrics]:
        """Runs to the end as `train` does, and yields the metrics of each logged step."""
        writes, every = self._directory != "", int(self._recipe["save_steps"])
        while True:
            progress = self.progress()
            if progress.step >= progress.total_steps:
                break
            metrics = self.step()
            step = progress.step + 1
            if writes and every > 0 and (step % every == 0 or step == progress.total_steps):
                self.save_checkpoint()
            if metrics is not None:
                yield metrics
        if writes:
            self.finish()

    def progress(self) -> Progress:
        """Where the run stands."""
        view = _ffi.Progress(struct_size=ctypes.sizeof(_ffi.Progress))
        self._call(_ffi.lib.rlhf_trainer_progress, ctypes.byref(view))
        return _read_progress(view)

    def metrics(self) -> Metrics | None:
        """The metrics of the last logged step, None if there is none."""
        view = _ffi.Metrics(struct_size=ctypes.sizeof(_ffi.Metrics))
        with self._core.lock:
            if self._call(_ffi.lib.rlhf_trainer_metrics, ctypes.byref(view), allow=(_ffi.RLHF_E_END,)) != _ffi.RLHF_OK:
                return None
            return _read_metrics(view)

    @property
    def log_history(self) -> list[dict[str, float]]:
        """All logged steps of this object, each a dict with "step"."""
        return self._listener.history

    # ---- saving ----

    def save_checkpoint(self) -> None:
        """Writes the whole state into the run directory."""
        self._call(_ffi.lib.rlhf_trainer_save)

    def finish(self) -> None:
        """Writes the result into the run directory: model/ and receipt.json."""
        self._call(_ffi.lib.rlhf_trainer_finish)

    def save_model(self, directory: Source) -> None:
        """Writes the trained model, with its tokenizer, as a Hugging Face directory."""
        self.model.save(directory)
        if self._tokenizer is not None:
            self._tokenizer.save(directory)

    # ---- what is trained ----

    @property
    def model(self) -> Policy | RewardModel:
        """What is trained: a Policy, for "reward" a RewardModel."""
        if self._model is None:
            self._model = self.reward_model if self._recipe.method == "reward" else self.policy
        return self._model

    @property
    def policy(self) -> Policy:
        """The trained policy."""
        if isinstance(self._model, Policy):
            return self._model
        policy = Policy._new(self.context, self._tokenizer)
        policy._make(lambda out, trainer: _ffi.lib.rlhf_trainer_policy(trainer, out), self)
        return policy

    @property
    def reward_model(self) -> RewardModel:
        """The reward model that "reward" trains."""
        if isinstance(self._model, RewardModel):
            return self._model
        model = RewardModel._new(self.context)
        model._make(lambda out, trainer: _ffi.lib.rlhf_trainer_reward_model(trainer, out), self)
        return model

    @property
    def recipe(self) -> Recipe:
        """The settings as they were given; the run has its own copy."""
        return self._recipe


class _Method(Trainer):
    _method = ""

    def __init__(self, model: Policy | RewardModel | Source | None = None, args: Any = None, **keywords: Any) -> None:
        super().__init__(self._method, model, args, **keywords)


class PretrainTrainer(_Method):
    """Language modelling on texts. Keywords: see Trainer."""

    _method = "pretrain"


class SFTTrainer(_Method):
    """Supervised fine-tuning on prompts and completions. Keywords: see Trainer."""

    _method = "sft"


class RewardTrainer(_Method):
    """Reward model from preferences; `model` is a Policy, whose trunk it starts from, or a RewardModel."""

    _method = "reward"


class RAFTTrainer(_Method):
    """Best-of-n sampling and fine-tuning on what was kept. Keywords: see Trainer."""

    _method = "raft"


class ReinforceTrainer(_Method):
    """REINFORCE with a baseline; leave-one-out (RLOO) is the default. Keywords: see Trainer."""

    _method = "reinforce"


class PairwiseTrainer(_Method):
    """Contrast of pairs of samples (P3O and kin). Keywords: see Trainer."""

    _method = "pairwise"


class PPOTrainer(_Method):
    """Proximal policy optimization with a critic. Keywords: see Trainer."""

    _method = "ppo"


__all__ = [
    "Metrics", "PPOTrainer", "PairwiseTrainer", "PretrainTrainer", "Progress", "RAFTTrainer", "ReinforceTrainer",
    "RewardTrainer", "SFTTrainer", "TrainOutput", "Trainer",
]  # fmt: skip
