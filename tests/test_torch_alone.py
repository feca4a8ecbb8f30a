"""The method's modules need torch and nothing else."""

import alone

NEEDS_TORCH_ALONE = """
    import sys
    import torch
    before = {name.split(".")[0] for name in sys.modules}
    from afigan.discriminator import FeaturePatchDiscriminator
    from afigan.interpolators import INTERPOLATORS, AFInterpolator, build_interpolator
    from afigan.interpolators.released import convert_released
    from afigan.losses import content_loss
    from afigan.pyramids.upsampling import Upsampling

    for name in INTERPOLATORS:
        guide = torch.randn(1, 8, 6, 10) if INTERPOLATORS[name].guided else None
        assert build_interpolator(name, 8).eval()(torch.randn(1, 8, 3, 5), guide).shape == (1, 8, 6, 10), name
    assert Upsampling("deconv", 4, 2)(torch.randn(1, 4, 3, 5), 1, (5, 9)).shape == (1, 4, 5, 9)
    new = {name.split(".")[0] for name in sys.modules} - before - sys.stdlib_module_names
    print(*sorted(name for name in new if not name.startswith("_")))
"""


def test_without_any_other_package():
    done = alone.run(NEEDS_TORCH_ALONE, "torch")
    assert done.returncode == 0, done.stderr
    assert "afigan" in done.stdout


def test_where_other_packages_are_there_they_are_not_imported():
    allowed = alone.top_level(("torch",)) | {"afigan"}
    done = alone.run(NEEDS_TORCH_ALONE, "torch", "detectron2", "pb1-detectron2", "pillow", "numpy", "torchvision")
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= allowed


def test_the_process_hides_what_it_says():
    done = alone.run("import numpy", "torch")
    assert done.returncode == 1 and "No module named 'numpy'" in done.stderr
    assert alone.run("import numpy", "numpy").returncode == 0
