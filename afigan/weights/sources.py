"""Read named tensors from the sources of weights: files, addresses and timm's hub."""

import pickle
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.modeling.backbone import Backbone
from detectron2.utils.file_io import PathManager
from safetensors.torch import load_file
from torch import Tensor

from afigan.backbones import TimmBackbone

PATIENCE = 10.0  # seconds without an answer after which a download fails
_INSTEAD = "download the file on a machine with a network and give its path"
_SAFE = {
    "numpy": ("ndarray", "dtype"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "collections": ("OrderedDict",),
    "_codecs": ("encode",),
}
_WRAPPERS = ("state_dict_ema", "state_dict", "model", "blobs")  # timm evaluates the averaged weights, hence these first


def read_source(source: str) -> dict[str, Tensor]:
    """Read a file, or download it from an address, without running code from it.

    Raises:
        ValueError: the file is not available, or has more than tensors.
    """
    path = Path(source)
    if "://" in source:
        try:
            with _patience():
                path = Path(PathManager.get_local_path(source))
        except Exception as error:  # a catalogue's KeyError, a server's OSError
            raise ValueError(f"{source} cannot be downloaded ({_brief(error)}): {_INSTEAD}") from None
    if not path.is_file():
        raise ValueError(
            f"{source} does not exist: give a file, `timm`, `efficientnet-lite0`, `crops` or an address that "
            "detectron2 knows, such as detectron2://ImageNetPretrained/MSRA/R-50.pkl"
        )
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        elif path.suffix == ".pkl":
            with path.open("rb") as file:
                content = _Arrays(file, encoding="latin1").load()
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each reader has its own kinds of errors
        raise ValueError(f"{source} is not a file of only tensors ({_brief(error)}): give a plain state dict") from None
    return _tensors(content, source)


class _Arrays(pickle.Unpickler):
    """A reader of only numpy arrays and plain values: weights need nothing else, and a pickle may run any code."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core.", "numpy._core.")  # numpy 1
        if name not in _SAFE.get(module, ()):
            raise pickle.UnpicklingError(f"it needs {module}.{name}")
        return super().find_class(module, name)


def _tensors(content: Any, source: str) -> dict[str, Tensor]:
    """Return the named tensors of a checkpoint, or only those of its backbone if it is a detector's."""
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict):
        raise ValueError(f"{source} is not a state dict but a {type(content).__name__}: give a plain state dict")
    state = {}
    for name, value in content.items():
        if isinstance(value, Tensor | np.ndarray):
            try:
                state[str(name).removeprefix("module.")] = torch.as_tensor(value)
            except (TypeError, ValueError) as error:  # an array of texts or objects
                raise ValueError(f"{source}: {name} is not numeric ({error}): give a plain state dict") from None
    prefix = "backbone.bottom_up."
    return {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)} or state


def read_timm(backbone: Backbone) -> dict[str, Tensor]:
    """Return the weights that timm has for a backbone; timm checks that its complete model has them all.

    Raises:
        ValueError: timm has none, they cannot be downloaded, or the backbone's options change the net.
    """
    if not isinstance(backbone, TimmBackbone):
        raise ValueError("timm is a source for backbones timm/NAME: give a file, or an address that detectron2 knows")
    try:
        with _patience(), _hub_at_once():
            return backbone.whole_model(pretrained=True).state_dict()
    except Exception as error:  # OSError, RuntimeError, the hub's own errors
        raise ValueError(
            f"timm's weights of {backbone.name} are not available ({_brief(error)}): {_INSTEAD}, or choose another "
            "backbone or its own options"
        ) from None


@contextmanager
def _patience() -> Iterator[None]:
    """End downloads without a limit of their own after `PATIENCE` seconds of silence."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def _hub_at_once() -> Iterator[None]:
    """Use only the cache of timm's hub if there is no network; otherwise the hub retries for most of a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PATIENCE).close()
    except urllib.error.HTTPError:  # an answer too
        return True
    except OSError:
        return False
    return True


def _brief(error: Exception) -> str:
    """Return an error in one line, without torch's advice to trust the file."""
    text = " ".join(str(error).split("WeightsUnpickler error:")[-1].split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}…"
