"""Read the weights of G (section 3.1) that the paper's authors released, in the state-dict layout of their code."""

import re

from torch import Tensor

_PREFIX = re.compile(r"^(?:backbone\.srf_module\.)?Generators\.0\.")
_LAYERS = {"0.0": "head", "2.0": "conv", "3.0": "deconv", "4.0": "tail"}


def convert_released(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the generator's entries of a released state dict, of only G or of a detector, to `AFInterpolator`'s.

    Raises:
        ValueError: there is no entry of a generator, or one is unknown.
    """
    converted = {}
    for name, value in state.items():
        layer, matched = _PREFIX.subn("", name)
        if not matched:
            continue
        if dense := re.fullmatch(r"1\.RDBs\.([0-2])\.conv([1-5])(?:\.0)?\.weight", layer):
            converted[f"blocks.{dense[1]}.convs.{int(dense[2]) - 1}.weight"] = value
        elif (plain := layer.rsplit(".", 1))[0] in _LAYERS:
            converted[f"{_LAYERS[plain[0]]}.{plain[1]}"] = value
        else:
            raise ValueError(f"released weights: {name!r} is not a layer of the AF interpolator with dense blocks")
    if not converted:
        raise ValueError("released weights: no entry 'Generators.0.…', so no AF interpolator in this file")
    return converted
