"""Weights and running statistics of a network as a safetensors file."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from snas import InputError
from snas.export.description import WEIGHTS, Description
from snas.tables import replacing


def write_weights(path: str | Path, module: nn.Module, description: Description) -> None:
    """Write the state of ``module``; the file's header says which cell it is of."""
    from safetensors.torch import save_file

    state = {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}
    with replacing(path) as temporary:
        save_file(state, str(temporary), metadata={"space": description.space, "cell": description.cell})


def read_network(folder: str | Path, description: Description) -> nn.Module:
    """Return the network of ``description`` with the weights that lie in ``folder``, in eval mode.

    Raises :class:`InputError` where the file is missing, damaged, or of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise InputError(f"{path}: no such file; the weights of the network are expected there")
    try:
        state = load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error
    module = description.build()
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"{path}: not the weights of {description.cell!r} at width {description.width}, as network.json says"
        ) from error
    return module.eval()
