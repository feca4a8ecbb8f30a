"""The links through which DVC watches annotation files."""

import subprocess
from pathlib import Path

import pytest
from dags import ROOT, WATCHED

from afigan.data.prepare import watched


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> Path:
    (tmp_path / "project").mkdir()
    (tmp_path / "set").mkdir()
    (tmp_path / "set/val.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


def test_a_link_shows_what_is_in_the_file_now(project):
    watched.link({"train": "../set/train.json", "val": "../set/val.json"})
    link = watched.WATCHED / "val"
    assert link.is_symlink() and link.read_text() == "{}"
    (project / "set/val.json").write_text("[]")
    assert link.read_text() == "[]"
    assert sorted(path.name for path in watched.WATCHED.iterdir()) == ["test", "val"]  # train is a dependency


def test_a_relative_path_moves_with_the_project_and_an_absolute_one_does_not(project):
    watched.link({"val": "../set/val.json", "test": str(project / "set/val.json")})
    assert (watched.WATCHED / "test").readlink() == project / "set/val.json"
    (project / "other/set").mkdir(parents=True)
    (project / "set/val.json").rename(project / "other/set/val.json")
    (project / "project").rename(project / "other/project")
    assert (project / "other/project" / watched.WATCHED / "val").read_text() == "{}"
    assert not (project / "other/project" / watched.WATCHED / "test").exists()


def test_a_linked_folder_of_outputs_does_not_mislead_a_link(project):
    (project / "disk").mkdir()
    Path("data").symlink_to(project / "disk")
    watched.link({"val": "../set/val.json"})
    assert (project / "disk/annotations/val").read_text() == "{}"


def test_without_a_file_of_its_own_a_split_has_the_file_of_the_repository(project):
    for files in ({"val": "../set/val.json", "test": "../set/val.json"}, {}):
        watched.link(files)
    for split in ("val", "test"):
        path = watched.WATCHED / split
        assert not path.is_symlink()
        shown = subprocess.run(
            ["git", "show", f":./{WATCHED}/{split}"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if shown.returncode == 0:  # not in an unpacked archive
            assert path.read_text() == shown.stdout
    assert (project / "set/val.json").read_text() == "{}"  # the link was replaced, and not the file behind it
