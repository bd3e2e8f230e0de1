"""Pipeline: several recipes in one YAML file, each starting from an earlier one's result."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Iterator

from . import _ffi, _handle, errors
from .context import Context, ContextHandle, resolve
from .recipe import Recipe, copy_of


@dataclass
class Stage:
    """One stage: its recipe (a copy), and the text of the keys scorer and gold, which the program reads."""

    name: str
    recipe: Recipe
    scorer: str | None
    gold: str | None


class Pipeline(ContextHandle):
    """The stages of a file: `for stage in rlhf.Pipeline("run.yaml", "runs/first"): ...`."""

    _release_name = "rlhf_pipeline_release"

    def __init__(
        self, path: str | os.PathLike[str], directory: str | os.PathLike[str], *, context: Context | None = None
    ) -> None:
        """Reads and checks a file; every stage's run directory is directory/NAME."""
        super().__init__(resolve(context))
        self._make(_ffi.lib.rlhf_pipeline_load, self.context, _handle.path_bytes(path), _handle.path_bytes(directory))

    def __len__(self) -> int:
        return int(self._read(_ffi.lib.rlhf_pipeline_stages))

    def __getitem__(self, index: int) -> Stage:
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise errors.RangeError(f"stage {index}: the pipeline has {len(self)}")
        view = _ffi.PipelineStage(struct_size=ctypes.sizeof(_ffi.PipelineStage))
        with self._core.lock:
            self._call(_ffi.lib.rlhf_pipeline_get, index, ctypes.byref(view))
            scorer = None if view.scorer is None else view.scorer.decode()
            gold = None if view.gold is None else view.gold.decode()
            return Stage(view.name.decode(), copy_of(ctypes.c_void_p(view.recipe), self.context), scorer, gold)

    def __iter__(self) -> Iterator[Stage]:
        for index in range(len(self)):
            yield self[index]
