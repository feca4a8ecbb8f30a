"""Draw detections over an image at its own size: masks, boxes, names and scores."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from detectron2.structures import Instances
from PIL import Image, ImageDraw, ImageFont

OPACITY = 0.35
GOLDEN = 0.618034  # of a turn: hues of successive classes are far apart, however many there are
WHITE, BLACK = (255, 255, 255), (0, 0, 0)

Colour = tuple[int, int, int]


def draw(image: Image.Image, found: Instances, classes: Sequence[str]) -> Image.Image:
    """Return a copy of an RGB image with the detections of `predict`; a class always has the same colour."""
    colours = [colour(int(number)) for number in found.pred_classes]
    drawn = image.copy()
    if found.has("pred_masks"):
        masks = found.pred_masks.numpy().astype(bool)
        pixels = np.array(image, dtype=np.float32)
        # the largest first; torchvision's own veil is black where two masks overlap
        for i in np.argsort(-masks.sum(axis=(1, 2)), kind="stable"):
            pixels[masks[i]] += OPACITY * (np.array(colours[i], np.float32) - pixels[masks[i]])
        drawn = Image.fromarray(pixels.round().astype(np.uint8))
    pen, width = ImageDraw.Draw(drawn), max(1, round(min(image.size) / 250))
    # the surest object is drawn last, on top
    for i in reversed(range(len(found))):
        box = found.pred_boxes.tensor[i].tolist()
        pen.rectangle(box, outline=colours[i], width=width)
    for i in reversed(range(len(found))):
        text = f"{classes[int(found.pred_classes[i])]} {float(found.scores[i]):.2f}"
        _label(pen, text, found.pred_boxes.tensor[i].tolist(), image.size, colours[i])
    return drawn


def side_by_side(pictures: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Return pictures of one size beside each other, under their titles."""
    width, height = pictures[0][1].size
    font, letter = _font((width, height)), _letter((width, height))
    band, gap = round(1.8 * letter), max(2, round(letter / 2))
    sheet = Image.new("RGB", ((width + gap) * len(pictures) - gap, height + band), WHITE)
    pen = ImageDraw.Draw(sheet)
    for place, (title, picture) in enumerate(pictures):
        left = place * (width + gap)
        sheet.paste(picture, (left, band))
        pen.text((left + 2, band / 2), title, BLACK, font, anchor="lm")
    return sheet


def colour(number: int) -> Colour:
    """Return the colour of a class."""
    red, green, blue = colorsys.hsv_to_rgb(number * GOLDEN % 1, 0.85, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def _font(size: tuple[int, int]) -> ImageFont.FreeTypeFont:
    """Return matplotlib's own font: it has accents, Greek and Cyrillic letters, which Pillow's has not."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), _letter(size))


def _letter(size: tuple[int, int]) -> int:
    """Return the size of letters for an image of a size, in pixels."""
    return max(10, round(min(size) / 30))


def _label(pen: ImageDraw.ImageDraw, text: str, box: list[float], size: tuple[int, int], back: Colour) -> None:
    """Write in a box's upper left corner, moved so that the text is inside of the image."""
    font = _font(size)
    left, top, right, bottom = pen.textbbox((0, 0), text, font, anchor="lt")
    pad = max(1, round(_letter(size) / 6))
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = max(0, min(box[0], size[0] - width))
    y = max(0, min(box[1], size[1] - height))
    pen.rectangle((x, y, x + width, y + height), fill=back)
    light = 0.299 * back[0] + 0.587 * back[1] + 0.114 * back[2] > 150
    pen.text((x + pad, y + pad), text, BLACK if light else WHITE, font, anchor="lt")
