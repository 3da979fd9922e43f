"""``torch.compile`` where there is a C++ compiler, and eager mode with one line of explanation where there is none."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from snas.compiler import why_not
from snas.predictors.native import said


class Compiled:
    """A function that is compiled when it is called; where that fails, it runs eagerly from then on and one line says so.

    Shapes are free (``dynamic=True``), so that one graph serves every block size, space and budget.
    """

    def __init__(self, function: Callable[..., Any], device: torch.device, *, enabled: bool) -> None:
        self.function = function
        self.call: Callable[..., Any] = function
        self.tried = not enabled
        self.device = device

    def __call__(self, *arguments: Any) -> Any:
        """Call the function, compiling it first where that has not been tried."""
        if not self.tried:
            return self._first(*arguments)
        return self.call(*arguments) if self.call is self.function else self._compiled(*arguments)

    def _first(self, *arguments: Any) -> Any:
        self.tried = True
        reason = why_not(self.device)
        if reason is not None:
            said(reason)
            return self.function(*arguments)
        self.call = torch.compile(self.function, dynamic=True, fullgraph=True)
        # a CUDA build of torch warns that there is no GPU
        chatter = logging.getLogger("torch.utils.cpp_extension")
        level = chatter.level
        chatter.setLevel(logging.ERROR)
        try:
            return self._compiled(*arguments)
        finally:
            chatter.setLevel(level)

    def _compiled(self, *arguments: Any) -> Any:
        """Call the compiled function; an error of the compiler, at the first shapes or at later ones, ends compiling."""
        try:
            return self.call(*arguments)
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            said(f"torch.compile failed ({type(error).__name__}: {str(error).strip().splitlines()[0]})")
        self.call = self.function
        return self.function(*arguments)
