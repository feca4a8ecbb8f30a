"""Write files under temporary names and rename them, so that a file with its own name is complete. Hold locks."""

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; on success flush it to disk and rename it to `path`, else remove it.

    The sibling keeps the suffix, because libraries choose a format by it.

    Raises:
        OSError: there is no space left, even if the library has raised another error.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path, path.stem, path.suffix)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except Exception as error:
        if not isinstance(error, OSError) and temporary.exists():
            _probe(temporary, error)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_dir(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary sibling folder of `path`; on success replace `path` by it, else remove it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path, path.name)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        shutil.rmtree(path, ignore_errors=True)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: Path, stem: str, suffix: str = "") -> Path:
    """Return a sibling that only this process writes to; remove what killed processes of this machine have left."""
    start = f".{stem}.{socket.gethostname()}-"
    for old in path.parent.glob(f"{glob.escape(start)}*.tmp{glob.escape(suffix)}"):
        process = old.name.removeprefix(start).removesuffix(f".tmp{suffix}")
        if process.isdecimal() and not _is_alive(int(process)):
            shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink(missing_ok=True)
    return path.with_name(f"{start}{os.getpid()}.tmp{suffix}")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        pass
    return True


def _probe(temporary: Path, error: Exception) -> None:
    """Raise OSError if further writing fails: a library may have turned such an error into another one."""
    try:
        with open(temporary, "ab") as file:
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
    except OSError as reason:
        reason.filename = str(temporary)
        raise reason from error


@contextlib.contextmanager
def exclusive(name: Path) -> Iterator[None]:
    """Hold `name`.lock for the body. The system releases it when this process ends for any reason.

    Raises:
        ValueError: another process holds it; the text names that process.
    """
    path = name.with_name(f"{name.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        try:
            # a record lock, because forked processes, which may outlive this one, do not share it
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise ValueError(f"{name.name} is being run by {holder}: wait for it, or end it ({path})") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def write_json(path: str | Path, value: Any, indent: int | None = 2) -> None:
    """Write `value` as JSON, atomically, with keys in the order given and a final newline. Refuse NaN."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False) + "\n", "utf-8")


def read_json(path: str | Path) -> Any:
    """Return the value of a JSON file that a stage has written.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): remove it and run its stage again") from None


def sha256_file(path: str | Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Return the hex SHA-256 of a JSON-serialisable value; the order of a dictionary's keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()
