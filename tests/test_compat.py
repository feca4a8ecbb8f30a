"""Operators that detectron2 v0.6 misses are supplied, and only where they are missing."""

import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import detectron2
import pytest
from PIL import Image

from afigan import compat

ROOT = Path(__file__).parents[1]


def run(code, *folders):
    """Run code in a process that finds packages in `folders` first."""
    code = f"import sys; sys.path[:0] = {[str(folder) for folder in folders]!r}\n" + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)


@pytest.fixture
def fake(tmp_path):
    """A folder with a package `detectron2` that has no operators."""
    package = tmp_path / "detectron2"
    package.mkdir()
    (package / "__init__.py").touch()
    return package


def test_no_operators_where_nothing_else_provides_them(fake):
    code = """
        import afigan
        from detectron2 import _C
        print(sorted(name for name in vars(_C) if not name.startswith("__")))
        import importlib.util
        print(importlib.util.find_spec("detectron2._D"))
    """
    names = ["get_compiler_version", "get_cuda_version", "has_cuda"]
    assert run(code, fake.parent).stdout.split("\n") == [str(names), "None", ""]


def test_detectron2_can_report_its_environment():
    """`default_setup` of detectron2 does so."""
    done = run("import afigan; from detectron2.utils.collect_env import collect_env_info as i; print(i())")
    assert "no compiled operators" in done.stdout


def test_compiled_operators_win(fake):
    (fake / "_C.py").write_text("name = 'compiled'")
    done = run("import afigan; from detectron2 import _C; print(_C.name)", fake.parent)
    assert done.stdout == "compiled\n"


def test_detectron2_calls_its_compiled_operators(tmp_path):
    """The real package, with operators as a build adds them: `import afigan` neither replaces nor hides them."""
    package = tmp_path / "detectron2"
    package.mkdir()
    for path in Path(detectron2.__file__).parent.iterdir():
        if not path.name.startswith(("_C.", "__pycache__")):
            (package / path.name).symlink_to(path)
    (package / "_C.py").write_text("def get_compiler_version(): return 'a compiler'")
    code = """
        import afigan
        import detectron2
        from detectron2 import _C
        from detectron2.layers import deform_conv
        from detectron2.modeling import build_model
        print(detectron2.__file__)
        print(deform_conv._C is _C and _C.get_compiler_version())
    """
    assert run(code, tmp_path).stdout.split("\n") == [str(package / "__init__.py"), "a compiler", ""]


def test_broken_operators_are_not_hidden(fake):
    (fake / "_C.py").write_text("raise ImportError('undefined symbol')")
    with pytest.raises(subprocess.CalledProcessError) as error:
        run("import afigan; from detectron2 import _C", fake.parent)
    assert "undefined symbol" in error.value.stderr


@pytest.fixture
def uninstalled(monkeypatch):
    """Restore the state before any call of `install`."""
    ours = compat._EmptyOperators | compat._PillowFirst
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if not isinstance(f, ours)])
    with warnings.catch_warnings():
        yield monkeypatch


def test_install_does_its_work_once(uninstalled):
    before = len(sys.meta_path)
    compat.install()
    filters = list(warnings.filters)
    compat.install()
    assert len(sys.meta_path) == before + 2
    assert isinstance(sys.meta_path[-1], compat._EmptyOperators)  # asked last
    assert isinstance(sys.meta_path[0], compat._PillowFirst)  # asked first
    assert warnings.filters == filters


def test_pillow_gets_its_old_name_back_where_it_lacks_it(uninstalled):
    uninstalled.delattr(Image, "LINEAR", raising=False)
    compat.prepare_pillow()
    assert Image.LINEAR == Image.Resampling.BILINEAR


def test_pillow_keeps_a_name_that_it_has(uninstalled):
    uninstalled.setattr(Image, "LINEAR", "its own", raising=False)
    compat.prepare_pillow()
    assert Image.LINEAR == "its own"


def test_pillow_is_prepared_when_detectron2_is_looked_for_and_not_before(fake):
    (fake / "part.py").touch()
    done = run(
        """
        import afigan, sys
        assert "PIL" not in sys.modules
        import detectron2.part
        from PIL import Image
        assert hasattr(Image, "LINEAR")
        """,
        fake.parent,
    )
    assert not done.stderr


def test_detectron2_is_imported_without_warnings_that_nobody_can_act_on():
    done = run("import afigan; import detectron2.modeling")
    assert "torch.jit" not in done.stderr and "pkg_resources" not in done.stderr
