"""Stage `figures`: all pictures of the trained models, in results/figures."""

from afigan.data.split import read_split
from afigan.evaluation.predict import Predictor
from afigan.figures.detections import draw_detection_figure
from afigan.figures.features import draw_feature_maps, feature_maps
from afigan.figures.gradcam import draw_gradcam_figure
from afigan.figures.losses import draw_losses
from afigan.outputs.paths import FIGURES, MODELS, PREPARED
from afigan.params.schema import Params
from afigan.params.stages import KINDS

LOGGED = ("afigan", "extractors", "detectors")  # the kinds whose losses are drawn
GRADCAM_LEVELS = ("p3", "p4")  # every pyramid has them


def draw_figures(params: Params) -> None:
    """Write `losses_{afigan,extractors,detectors}.png`, `features.png`, `detections.png` and `gradcam.png`.

    Raises:
        ValueError: a model is missing or has other parameters, or `figures.image` is beyond the validation set.
    """
    for kind in LOGGED:
        keys = getattr(params.experiments, kind)
        logs = {key: MODELS / kind / key / "log.jsonl" for key in keys}
        draw_losses(logs, FIGURES / f"losses_{kind}.png", KINDS[kind].title)
    maps, image = feature_maps(params)
    draw_feature_maps(maps, image, FIGURES / "features.png")
    _draw_detections(params)


def _draw_detections(params: Params) -> None:
    settings, evaluations = params.figures, params.experiments.evaluations
    pair = {"nearest": settings.nearest, "AFI": settings.afi}
    explained = settings.gradcam or pair
    predictors = {key: Predictor(params, evaluations[key].model) for key in {*pair.values(), *explained.values()}}
    pixel_format = predictors[settings.nearest].architecture.backbone.pixel_format
    split = read_split(PREPARED / "val.json")
    records, classes = split["images"], split["classes"]
    draw_detection_figure(
        {title: predictors[key].detector for title, key in pair.items()},
        records,
        classes,
        params.input,
        pixel_format,
        FIGURES / "detections.png",
        candidates=settings.candidates,
        score_threshold=settings.score_threshold,
    )
    draw_gradcam_figure(
        {title: predictors[key].detector for title, key in explained.items()},
        records,
        settings.image,
        GRADCAM_LEVELS,
        classes,
        params.input,
        pixel_format,
        FIGURES / "gradcam.png",
    )
