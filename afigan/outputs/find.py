"""Find the folder of a trained model, here in models/ or anywhere else."""

from pathlib import Path

from afigan.outputs.paths import MODELS


def find_model(given: str | Path) -> Path:
    """Return the absolute path of a model's folder.

    Args:
        given: the path of a folder with `config.json` and `model.safetensors`, or such a folder's name in `models/`, as
            in `detectors/a5`.

    Raises:
        ValueError: there is no such folder; the message lists those in `models/`.
    """
    for folder in (Path(given), MODELS / given):
        if (folder / "config.json").is_file():
            return folder.absolute()
    known = sorted(path.parent.relative_to(MODELS).as_posix() for path in MODELS.glob("*/*/config.json"))
    there = f"models/ has {', '.join(known)}" if known else "there is no models/ here; give the path of a folder"
    raise ValueError(f"{given} is not the folder of a trained model (no config.json in it): {there}")
