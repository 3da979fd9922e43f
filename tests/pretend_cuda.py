"""A GPU that is not there: tensors that say ``cuda:0`` and compute on the CPU.

It refuses what every GPU refuses and no CPU does: tensors of two devices in one operation, a generator of the other
device, a GPU's tensor turned into an array.  Beyond it are kernels written for a GPU, streams and graphs
(``tests/training/test_cuda.py`` needs a real one), and what backward passes do inside.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only

CUDA = torch.device("cuda", 0)
ACROSS = {"copy_", "to", "cpu", "cuda", "type", "set_data", "__get__", "__set__"}
"""Operations whose tensors may be of two devices."""
INDEXED = {"__getitem__", "__setitem__"}
"""Operations whose indices may be on the CPU."""
REFUSED = {"numpy", "__array__"}
"""What a GPU's tensor does not do."""
NOT_TENSORS = {"tolist", "item", "__repr__", "__format__", "__str__"}


class OnDevice(Tensor):
    """A tensor that says that it is on the GPU."""

    operations = 0

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})

    def __format__(self, form: str) -> str:
        return format(self.cpu(), form)


class Mode(TorchFunctionMode):
    """Makes new tensors where their ``device`` says."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


def compute(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Compute on the CPU what a GPU would compute, and refuse what it would refuse."""
    name = function.__name__
    tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
    on_gpu = any(isinstance(t, OnDevice) for t in tensors)
    if on_gpu and name == "__get__" and (answer := attribute(function, args[0])) is not None:
        return answer
    if name == "_has_compatible_shallow_copy_type":  # of Module.to: whether a weight stays where it is
        return isinstance(args[0], OnDevice) == isinstance(args[1], OnDevice)
    asked = device_asked_for(name, args, kwargs)
    target = asked or ("cuda" if on_gpu else "cpu")
    if on_gpu:
        check(name, args, tensors)
    generator = kwargs.get("generator")
    if generator is not None and generator.device.type != target:
        raise RuntimeError(f"{name}: a generator of the {generator.device.type} for tensors of {target}")
    with torch._C.DisableTorchFunctionSubclass():
        if name == "to" and asked:
            kwargs = {**kwargs, "copy": True} if on_gpu != (asked == "cuda") else kwargs
            args = [args[0], *("cpu" if isinstance(a, str | torch.device) else a for a in args[1:])]
        if kwargs.get("device") is not None:
            kwargs = {**kwargs, "device": "cpu"}
        moves = name == "cuda" or (name == "cpu" and on_gpu)
        out = args[0].clone() if moves else function(*args, **kwargs)
    if name in NOT_TENSORS:
        return out
    if target == "cpu":
        return tree_map_only(OnDevice, lambda t: t.as_subclass(Tensor), out) if name in ("to", "cpu") else out
    OnDevice.operations += 1
    return tree_map_only(Tensor, there, out)


def there(tensor: Tensor) -> Tensor:
    """Return the tensor as one of the GPU; a leaf of autograd's graph stays one."""
    if isinstance(tensor, OnDevice):
        return tensor
    with torch._C.DisableTorchFunctionSubclass():
        if tensor.is_leaf:
            return Tensor._make_subclass(OnDevice, tensor, tensor.requires_grad)
        return tensor.as_subclass(OnDevice)


def attribute(function: Callable[..., Any], tensor: Tensor) -> Any:
    """Return what a GPU's tensor says of where it is; None for other attributes."""
    with torch._C.DisableTorchFunctionSubclass():
        known = {Tensor.device: CUDA, Tensor.is_cuda: True, Tensor.is_cpu: False}
    return next((value for of, value in known.items() if function == of.__get__), None)


def device_asked_for(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Return the kind of device that an operation names; None where it names none."""
    if name in ("cpu", "cuda"):
        return name
    named = kwargs.get("device")
    if named is None and name == "to":
        for a in args[1:]:
            if isinstance(a, (str, torch.device)):
                named = a
            elif isinstance(a, Tensor):
                named = CUDA if isinstance(a, OnDevice) else "cpu"
    return None if named is None else torch.device(named).type


def check(name: str, args: Sequence[Any], tensors: Sequence[Tensor]) -> None:
    """Raise for what a GPU refuses."""
    if name in REFUSED:
        raise TypeError(f"{name}: can't convert cuda:0 device type tensor to numpy")
    if name in ACROSS:
        return
    if name in INDEXED:
        if not isinstance(args[0], OnDevice):
            raise RuntimeError(f"{name}: indices on a GPU for a tensor of the CPU")
        tensors = [t for t in args[2:] if isinstance(t, Tensor)]
    if any(not isinstance(t, OnDevice) and t.dim() for t in tensors):
        told = [("cuda" if isinstance(t, OnDevice) else "cpu", tuple(t.shape)) for t in tensors]
        raise RuntimeError(f"{name}: tensors of two devices, {told}")


@contextlib.contextmanager
def pretended() -> Iterator[Callable[[], int]]:
    """Have torch see a GPU for the length of a block; yields how many operations it has done so far."""
    before = OnDevice.operations
    with pytest.MonkeyPatch.context() as patch, Mode():
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "mem_get_info", lambda device=None: (2**33, 2**33))
        patch.setattr(torch.cuda, "get_device_name", lambda device=None: "a GPU that is not there")
        for name in ("max_memory_allocated", "memory_allocated", "memory_reserved"):
            patch.setattr(torch.cuda, name, lambda device=None: 0)
        patch.setattr(torch.cuda, "get_device_capability", lambda device=None: (8, 0))
        for name in ("synchronize", "empty_cache"):
            patch.setattr(torch.cuda, name, lambda *_: None)
        for name in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
            patch.setattr(torch.optim.Optimizer, name, lambda self: None, raising=False)
        yield lambda: OnDevice.operations - before
