"""Stage `figures`: all pictures of the trained models, in results/figures."""

from afigan.data.split import read_split
from afigan.evaluation.predict import Predictor
from afigan.figures.detections import draw_detection_figure
from afigan.figures.features import draw_feature_maps, feature_maps
from afigan.figures.gradcam import draw_gradcam_figure
from afigan.figures.losses import draw_losses
from afigan.figures.overlay import loss_curves, write_overlays
from afigan.outputs.paths import FIGURES, MODELS, PAGE, PREPARED
from afigan.params.schema import Params
from afigan.params.stages import KINDS
from afigan.reporting.embedded import Losses

LOGGED = ("afigan", "extractors", "detectors")  # the kinds whose losses are drawn
GRADCAM_LEVELS = ("p3", "p4")  # every pyramid has them


def draw_figures(params: Params) -> None:
    """Write `losses_{afigan,extractors,detectors}.png`, `features.png`, `detections.png` and `gradcam.png`.

    Beside them, the folder `page` has what the page of results shows in other ways (`afigan.reporting.embedded`).

    Raises:
        ValueError: a model is missing or has other parameters, or `figures.image` is beyond the validation set.
    """
    logs = {
        kind: {key: MODELS / kind / key / "log.jsonl" for key in getattr(params.experiments, kind)} for kind in LOGGED
    }
    titles = {kind: KINDS[kind].title for kind in LOGGED}
    for kind, title in titles.items():
        draw_losses(logs[kind], FIGURES / f"losses_{kind}.png", title)
    maps, image = feature_maps(params)
    draw_feature_maps(maps, image, FIGURES / "features.png")
    _draw_detections(params, loss_curves(logs, titles))


def _draw_detections(params: Params, losses: Losses) -> None:
    settings, evaluations = params.figures, params.experiments.evaluations
    pair = {"nearest": settings.nearest, "AFI": settings.afi}
    explained = settings.gradcam or pair
    predictors = {key: Predictor(params, evaluations[key].model) for key in {*pair.values(), *explained.values()}}
    pixel_format = predictors[settings.nearest].architecture.backbone.pixel_format
    split = read_split(PREPARED / "val.json")
    records, classes = split["images"], split["classes"]
    shown, rule = draw_detection_figure(
        {title: predictors[key].detector for title, key in pair.items()},
        records,
        classes,
        params.input,
        pixel_format,
        FIGURES / "detections.png",
        candidates=settings.candidates,
        score_threshold=settings.score_threshold,
    )
    write_overlays(shown, list(pair), classes, rule, losses, PAGE)
    draw_gradcam_figure(  # the last picture: `make status` takes it for the end of the stage
        {title: predictors[key].detector for title, key in explained.items()},
        records,
        settings.image,
        GRADCAM_LEVELS,
        classes,
        params.input,
        pixel_format,
        FIGURES / "gradcam.png",
    )
