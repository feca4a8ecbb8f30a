"""The interpolator of a trained model: G of stage 1, or one of those in the pyramid of an extractor or a detector."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from afigan.interpolators import build_interpolator, interpolator_traits
from afigan.outputs.find import find_model
from afigan.outputs.models import load_config, load_part, load_weights, part


@dataclass(frozen=True)
class Trained:
    """An interpolator with its weights, in evaluation mode, and the arguments of `build_interpolator` for it."""

    module: nn.Module
    name: str
    channels: int
    options: dict[str, Any]
    source: str
    guided: bool = False  # it needs the finer lateral map

    @property
    def learned(self) -> bool:
        """False for interpolations that have no weights."""
        return bool(self.module.state_dict())


def load_interpolator(model: str | Path, place: int | None = None) -> Trained:
    """Read an interpolator from the folder of a trained model.

    Args:
        model: a folder, or a name in `models/`: `afigan/KEY`, `extractors/KEY`, `detectors/KEY` or `students/KEY`.
        place: the place in the pyramid, counted from the coarsest map; needed if every place has weights of its own.

    Raises:
        ValueError: the model is missing or damaged, has no interpolator, has no such place, or has several.
    """
    folder = str(find_model(model))
    config, weights = load_config(folder), load_weights(folder)
    source = str(config.get("node", model))
    try:
        if "architecture" in config:
            architecture = config["architecture"]
            name, options = architecture["interpolator"], architecture["options"]
            channels = architecture["model"]["channels"]
            states = _places(part(weights, "backbone.upsample."))
        elif "interpolator" in config:
            name, options, channels = config["interpolator"], config["options"], config["channels"]
            states = [part(weights, "interpolator.")]
        else:
            raise ValueError(
                f"{source} has no interpolator: choose a model of afigan, extractors, detectors or students"
            )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder}/config.json is of another version of this project ({error!r})") from None
    module = build_interpolator(name, channels, **options)
    load_part(module, _chosen(states, place, source) if module.state_dict() else {}, source)
    return Trained(
        module.eval().requires_grad_(False), name, channels, options, source, interpolator_traits(name).guided
    )


def _places(weights: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Split the weights of a pyramid's interpolators by place."""
    count = 1 + max((int(name.split(".")[0]) for name in weights), default=-1)
    return [part(weights, f"{place}.") for place in range(count)]


def _chosen(states: list[dict[str, Tensor]], place: int | None, source: str) -> dict[str, Tensor]:
    last = len(states) - 1
    if last == 0 and place is None:
        return states[0]
    if place is None:
        raise ValueError(
            f"{source} has {len(states)} interpolators with weights of their own: choose one by its place, 0 (from the "
            f"coarsest map) to {last}"
        )
    if not 0 <= place <= last:
        raise ValueError(f"{source} has no place {place}: choose 0 (from the coarsest map) to {last}")
    return states[place]
