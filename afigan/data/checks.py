"""Checks of params.yaml against the prepared data set, before anything is trained."""

from afigan.outputs.prepared import read_summary
from afigan.params.masks import WITHOUT_MASKS, heads_with_masks
from afigan.params.schema import Params


def check_prepared(params: Params) -> None:
    """Check that the data set has the masks and the image that experiments and figures need.

    Raises:
        ValueError: the data set has boxes only, and an experiment has a mask head; or `figures.image` is beyond the
            validation set; or the stage `prepare` has not run.
    """
    summary = read_summary()
    if not summary["train"]["masks"] and (heads := heads_with_masks(params)):
        name, head = next(iter(heads.items()))
        raise ValueError(f"{name}: {head} needs masks, but the data set has only boxes; {WITHOUT_MASKS}")
    if params.figures.image >= (images := summary["val"]["images"]):
        raise ValueError(f"figures.image: {params.figures.image}, but the validation set has {images} images: lower it")
