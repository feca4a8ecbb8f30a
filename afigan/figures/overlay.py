"""Pictures and curves for the page of results, in a folder of their own: see `afigan.reporting.embedded`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import contourpy
import numpy as np
from matplotlib.colors import to_hex
from PIL import Image

from afigan.figures.detections import Shown
from afigan.figures.losses import read_losses, smooth
from afigan.figures.pictures import Objects, Panel, class_colours, veil
from afigan.reporting.embedded import IMAGES, LOSSES, Compared, Curve, Detections, Images, Item, Losses
from afigan.runtime.files import atomic_dir, write_json

SIDE = 640  # pixels of a picture's longer side; larger images are made smaller
QUALITY = 85  # of a JPEG
POINTS = 80  # of a curve
OUTLINE = 60  # points of an outline


def write_overlays(
    shown: Sequence[Shown], titles: Sequence[str], classes: Sequence[str], rule: str, losses: Losses, folder: Path
) -> None:
    """Write the pictures of the images in `shown`, images.json and losses.json to `folder`, which they replace.

    titles: the names of the two detectors. classes: names by number. rule: a sentence on the choice of the images.
    """
    with atomic_dir(folder) as out:
        images = tuple(_compared(item, titles, classes, out) for item in shown)
        write_json(out / IMAGES, Images(rule=rule, images=images).model_dump(mode="json"))
        write_json(out / LOSSES, losses.model_dump(mode="json"), indent=None)


def _compared(shown: Shown, titles: Sequence[str], classes: Sequence[str], out: Path) -> Compared:
    *pair, truth = shown.panels
    height, width = truth.image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    found = []
    for number, (panel, title) in enumerate(zip(pair, titles, strict=True)):
        name = f"{shown.image}_{number}.jpg"
        _picture(panel, classes).resize(size, Image.Resampling.LANCZOS).save(out / name, quality=QUALITY, optimize=True)
        items = _items(panel.objects, classes, scale, outlines=False)  # the picture has their masks
        found.append(Detections(title=title, picture=name, found=shown.choice.found[number], items=items))
    return Compared(
        image=shown.image,
        rank=shown.choice.rank,
        of=shown.choice.of,
        width=size[0],
        height=size[1],
        pair=(found[0], found[1]),
        objects=_items(truth.objects, classes, scale, outlines=True),
    )


def _picture(panel: Panel, classes: Sequence[str]) -> Image.Image:
    objects = panel.objects
    if objects.masks is None:
        return Image.fromarray(panel.image)
    return Image.fromarray(veil(panel.image, objects.masks, class_colours(objects.classes, len(classes))))


def _items(objects: Objects, classes: Sequence[str], scale: float, outlines: bool) -> tuple[Item, ...]:
    """Return the objects in pixels of the picture, the surest detection last, because that is drawn on top."""
    order = np.arange(len(objects)) if objects.scores is None else np.argsort(objects.scores, kind="stable")
    colours = class_colours(objects.classes, len(classes))
    return tuple(
        Item(
            name=classes[objects.classes[i]],
            colour=to_hex(colours[i]),
            box=(x0, y0, x1, y1),
            score=None if objects.scores is None else round(float(objects.scores[i]), 2),
            outline=outline(objects.masks[i], scale) if outlines and objects.masks is not None else "",
        )
        for i, (x0, y0, x1, y1) in zip(order, (objects.boxes[order] * scale).round(1).tolist(), strict=True)
    )


def outline(mask: np.ndarray, scale: float = 1.0) -> str:
    """Return the outlines of a mask (H, W) as the data of an SVG path; corners of pixels have integer coordinates."""
    padded = np.pad(mask.astype(np.float64), 1)  # so that an outline at the image's edge is closed
    parts = []
    for line in contourpy.contour_generator(z=padded).lines(0.5):
        assert isinstance(line, np.ndarray)
        # the centre of the first pixel of the mask is at 1 in the padded one, and at 0.5 in the picture
        points = (line[:-1] - 0.5) * scale
        points = points[:: max(1, -(-len(points) // OUTLINE))]
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z")
    return "".join(parts)


def loss_curves(logs: Mapping[str, Mapping[str, Path]], titles: Mapping[str, str]) -> Losses:
    """Return the losses of all runs. logs: kind of experiment -> key -> its log.jsonl; titles: of the kinds.

    Raises:
        ValueError: a log has no losses, or a line that is not JSON.
    """
    curves = []
    for kind, paths in logs.items():
        for run, path in paths.items():
            for term, (iterations, values) in read_losses(path).items():
                strong = smooth(values)
                places = np.unique(np.linspace(0, len(values) - 1, min(POINTS, len(values))).round().astype(int))
                curves.append(
                    Curve(
                        stage=kind,
                        run=run,
                        term=term.removeprefix("loss_").replace("_", " "),
                        iterations=tuple(int(i) for i in iterations[places]),
                        values=tuple(float(f"{value:.4g}") for value in strong[places]),
                        last=float(f"{strong[-1]:.4g}"),
                    )
                )
    return Losses(stages={kind: titles[kind] for kind in logs}, curves=tuple(curves))
