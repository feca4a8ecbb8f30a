"""Files that exist are complete, and digests are correct."""

import hashlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from afigan.runtime.files import atomic_dir, atomic_path, digest, exclusive, sha256_file, write_json

ROOT = Path(__file__).parents[2]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_gets_its_name_only_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "folder" / "model.safetensors"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent and temporary.suffix == path.suffix
        temporary.write_bytes(b"half")
        assert not path.exists()
    assert path.read_bytes() == b"half"
    assert names(path.parent) == [path.name]


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(str(path)) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_no_rubbish(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error
    with pytest.raises(FileNotFoundError), atomic_path(path):
        pass  # nothing was written
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = """
        import os, sys
        from afigan.runtime.files import atomic_path
        with atomic_path(sys.argv[1]) as temporary:
            temporary.write_text("half")
            os._exit(9)
    """
    code = "\n".join(line[8:] for line in code.splitlines())
    assert subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT).returncode == 9
    assert path.read_text() == "old"


def test_a_folder_replaces_the_old_one_in_one_step(tmp_path):
    path = tmp_path / "outer" / "out"
    for run in ("first", "second"):
        with atomic_dir(path) as temporary:
            assert temporary.parent == path.parent and names(temporary) == []
            (temporary / run).touch()
            assert names(path) == ["first"] if run == "second" else not path.exists()
        assert names(path) == [run]
    assert names(path.parent) == ["out"]


def test_a_failure_leaves_the_old_folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with pytest.raises(RuntimeError), atomic_dir(tmp_path / "out") as temporary:
        (temporary / "half").touch()
        raise RuntimeError
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["old"]


def test_json_keeps_order_and_letters_and_refuses_nan(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": "ä", "a": [1, None]})
    text = path.read_text("utf-8")
    assert json.loads(text) == {"b": "ä", "a": [1, None]}
    assert text.index('"b": "ä"') < text.index('"a"') and text.endswith("}\n")
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert path.read_text("utf-8") == text and names(tmp_path) == ["a.json"]


def test_sha256_of_a_file(tmp_path):
    data = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(data)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_a_digest_is_of_the_value():
    value = {"a": [1, 2.5, None], "b": {"c": True, "d": "ä"}}
    assert digest(value) == digest({"b": {"d": "ä", "c": True}, "a": [1, 2.5, None]})
    assert len({digest(v) for v in (value, {**value, "e": 0}, {**value, "a": [2.5, 1, None]}, "1", 1, None)}) == 6
    # pinned: existing metrics files and checkpoints contain it
    assert digest({"a": 1}) == "f9d86028c6e0d64e225186f96acb69338b2c59764df79162107f5c4bb34d1310"
    with pytest.raises(ValueError):
        digest(float("inf"))


def test_what_killed_processes_left_is_removed_and_what_others_are_writing_is_not(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    host = socket.gethostname()
    for name in (f".a.{host}-{gone.pid}.tmp.txt", f".a.{host}-1.tmp.txt", ".a.elsewhere-2.tmp.txt", ".a.own.tmp.txt"):
        (tmp_path / name).write_text("half")
    (tmp_path / f".d.{host}-{gone.pid}.tmp").mkdir()
    with atomic_path(tmp_path / "a.txt") as path:
        path.write_text("whole")
    with atomic_dir(tmp_path / "d"):
        pass
    assert set(names(tmp_path)) == {".a.elsewhere-2.tmp.txt", f".a.{host}-1.tmp.txt", ".a.own.tmp.txt", "a.txt", "d"}


class Opaque(Exception):
    """A library's own error in place of an error of the system."""


def test_a_full_disk_is_reported_even_if_a_library_hides_it(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(OSError, match="too large") as caught, atomic_path(tmp_path / "a.txt") as path:
            path.write_bytes(bytes(1000))
            raise Opaque
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(caught.value.__cause__, Opaque)
    with pytest.raises(Opaque), atomic_path(tmp_path / "a.txt") as path:  # there is room
        path.write_bytes(bytes(1000))
        raise Opaque
    assert not names(tmp_path)


def test_one_process_at_a_time(tmp_path):
    """The holder of a lock is named; a killed process releases it, even while a process that it has forked lives on."""
    code = """
        import os, pathlib, sys, time
        from afigan.runtime.files import exclusive
        with exclusive(pathlib.Path(sys.argv[1])):
            child = os.fork()
            if child:
                print(child, flush=True)
            time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "locks/a")]
    holder = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    child = int(holder.stdout.readline())
    try:
        with (
            pytest.raises(ValueError, match=f"a is being run by process {holder.pid} on "),
            exclusive(tmp_path / "locks/a"),
        ):
            pass
        with exclusive(tmp_path / "locks/b"):
            pass
        holder.kill()
        holder.wait()
        with exclusive(tmp_path / "locks/a"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
