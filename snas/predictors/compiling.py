"""``torch.compile`` where there is a C++ compiler, and eager mode with one line of explanation where there is none."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch

from snas.compiler import why_not

log = logging.getLogger(__name__)


@functools.cache
def said(reason: str) -> None:
    """Say once per process why predictors are not compiled."""
    log.warning("predictors run in eager mode, several times slower: %s", reason)


class Compiled:
    """A function that is compiled at its first call; where that fails, it runs eagerly from then on and one line says so.

    Shapes are free (``dynamic=True``), so that one graph serves every block size, space and budget.
    """

    def __init__(self, function: Callable[..., Any], device: torch.device, *, enabled: bool) -> None:
        self.function = function
        self.call: Callable[..., Any] = function
        self.tried = not enabled
        self.device = device

    def __call__(self, *arguments: Any) -> Any:
        """Call the function, compiling it first where that has not been tried."""
        return self.call(*arguments) if self.tried else self._first(*arguments)

    def _first(self, *arguments: Any) -> Any:
        self.tried = True
        reason = why_not(self.device)
        if reason is None:
            compiled = torch.compile(self.function, dynamic=True, fullgraph=True)
            chatter = logging.getLogger(
                "torch.utils.cpp_extension"
            )  # a CUDA build of torch warns that there is no GPU
            level = chatter.level
            chatter.setLevel(logging.ERROR)
            try:
                result = compiled(*arguments)
            except Exception as error:
                if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                    raise
                reason = (
                    f"torch.compile failed ({type(error).__name__}: {str(error).strip().splitlines()[0]})"
                )
            else:
                self.call = compiled
                return result
            finally:
                chatter.setLevel(level)
        said(reason)
        return self.function(*arguments)
