"""Image files: missing ones, those of another size, and a folder that is not that of the images."""

import os
from pathlib import Path

import pytest
import tiny_coco
from PIL import Image

from afigan.data.prepare.image_files import check_images


def image_reasons(value, root, workers=1):
    found = check_images(value, root, file="set.json", workers=workers, description="checking")
    return [str(problem) for problem in found]


def test_workers_report_the_same_in_the_same_order(tmp_path):
    value = tiny_coco.annotations(images=70)
    tiny_coco.write_images(value, tmp_path)
    for image in value["images"][::9]:
        (tmp_path / image["file_name"]).unlink()
    alone = image_reasons(value, tmp_path)
    assert len(alone) == 8
    assert image_reasons(value, tmp_path, workers=2) == alone


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_that_its_tag_turns_is_told_from_one_of_exchanged_sides(tmp_path, orientation):
    value = tiny_coco.annotations(images=1)
    name = value["images"][0]["file_name"] = "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (31, 20)).save(tmp_path / name, exif=exif)
    turned = orientation >= 5
    lines = image_reasons(value, tmp_path)
    assert len(lines) == turned
    if turned:
        assert f"its EXIF orientation tag is {orientation}, and turns it" in lines[0]
        assert "declare 20x31; if they fit the stored pixels, remove the tag from the file" in lines[0]

    value["images"][0] |= {"width": 20, "height": 31}
    lines = image_reasons(value, tmp_path)
    assert len(lines) == (not turned)
    if not turned:
        assert "is 31x20 pixels upright, but declared as 20x31: width and height are exchanged" in lines[0]


@pytest.mark.parametrize("place", [".", "images", "images/val"])
def test_a_folder_without_any_of_the_images_is_probably_wrong(tmp_path, place):
    """The files are beside the folder, or below it, or in it without the folder of their names."""
    value = tiny_coco.annotations()
    (tmp_path / "images/val").mkdir(parents=True)
    for image in value["images"]:
        image["file_name"] = image["file_name"].replace("sub/", "train/" if place == "images" else "")
        Image.new("RGB", (image["width"], image["height"])).save(tmp_path / place / Path(image["file_name"]).name)
    folder, *others = image_reasons(value, tmp_path / "images")
    assert folder.startswith(f"{tmp_path / 'images'}: this folder: has none of the 3 images that set.json names")
    assert f"may be {os.path.normpath(tmp_path / place)}/bild-ä0.png" in folder
    assert len(others) == 3 and all("the file does not exist" in line for line in others)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "sub"])
def test_a_folder_is_searched_for_any_name(tmp_path, name):
    value = tiny_coco.annotations(images=1)
    value["images"][0]["file_name"] = name
    assert len(image_reasons(value, tmp_path)) in (1, 2)


def test_one_image_that_is_there_acquits_the_folder_and_odd_names_do_too(tmp_path):
    value = tiny_coco.annotations()
    assert len(image_reasons(value, tmp_path)) == 4
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (31, 20)).save(tmp_path / "sub/bild-ä0.png")
    assert len(image_reasons(value, tmp_path)) == 2
    for image in value["images"]:
        image["file_name"] = image["file_name"].replace("/", "\\")
    lines = image_reasons(value, tmp_path)
    assert len(lines) == 3 and all("the name has backslashes" in line for line in lines)


def test_a_file_whose_name_really_has_a_backslash_is_read(tmp_path):
    value = tiny_coco.annotations(images=1)
    value["images"][0]["file_name"] = "a\\b.png"
    tiny_coco.write_images(value, tmp_path)
    assert image_reasons(value, tmp_path) == []
