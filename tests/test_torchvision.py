"""torchvision's FPN with any interpolator: equal to torchvision with nearest, in every kind of model of its zoo."""

import copy

import alone
import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn import functional as F
from torchvision.models import detection, resnet18
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from afigan.interpolators import INTERPOLATORS
from afigan.torchvision import InterpolatedFPN, replace_interpolation

C = 8
CHANNELS = [3, 5, 7, 9]
SIZES = [(64, 96), (65, 97), (32, 33), (35, 70)]  # of the finest map


def features(height, width, channels=CHANNELS):
    maps = {}
    for level, count in enumerate(channels):
        maps[f"c{level}"] = torch.randn(2, count, height, width)
        height, width = (height + 1) // 2, (width + 1) // 2
    return maps


EXTRAS = {"none": lambda: None, "pool": LastLevelMaxPool, "p6p7": lambda: LastLevelP6P7(CHANNELS[-1], C)}


@pytest.mark.parametrize("norm", [None, torch.nn.BatchNorm2d])
@pytest.mark.parametrize("extra", EXTRAS)
def test_nearest_is_torchvisions_fpn_bit_for_bit(extra, norm):
    torch.manual_seed(0)
    theirs = FeaturePyramidNetwork(CHANNELS, C, EXTRAS[extra](), norm)
    torch.manual_seed(0)
    ours = InterpolatedFPN(CHANNELS, C, EXTRAS[extra](), norm, interpolator="nearest")
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for size in SIZES:
        maps = features(*size)
        expected, found = theirs(dict(maps)), ours(dict(maps))
        assert list(found) == list(expected)
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("interpolator", INTERPOLATORS)
def test_state_dict_and_initial_weights_are_torchvisions_and_those_of_upsample(interpolator):
    torch.manual_seed(0)
    theirs = FeaturePyramidNetwork(CHANNELS, C).state_dict()
    torch.manual_seed(0)
    ours = InterpolatedFPN(CHANNELS, C, interpolator=interpolator).state_dict()
    assert {name for name in ours if not name.startswith("upsample.")} == set(theirs)
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_weights_of_torchvision_before_version_2_of_its_fpn_load():
    ours = InterpolatedFPN(CHANNELS, C, interpolator="nearest")
    old = {name.replace(".0.weight", ".weight").replace(".0.bias", ".bias"): v for name, v in ours.state_dict().items()}
    assert "inner_blocks.1.weight" in old
    ours.load_state_dict({name: value + 1 for name, value in old.items()})
    assert torch.equal(ours.inner_blocks[1][0].weight, old["inner_blocks.1.weight"])  # `old` shares memory


def test_merged_maps_come_from_the_interpolator_of_their_place_cropped():
    torch.manual_seed(0)
    fpn, maps = InterpolatedFPN(CHANNELS, C, interpolator="deconv"), features(35, 70)
    merged = fpn.inner_blocks[3](maps["c3"])
    for place, level in enumerate((2, 1, 0)):
        lateral = fpn.inner_blocks[level](maps[f"c{level}"])
        merged = lateral + fpn.upsample[place](merged)[..., : lateral.shape[2], : lateral.shape[3]]
    torch.testing.assert_close(fpn(maps)["c0"], fpn.layer_blocks[0](merged), rtol=0, atol=0)


def test_a_guide_is_the_lateral_map_or_its_mean_where_the_size_is_between():
    fpn = InterpolatedFPN([3, 3], C, interpolator="fade")
    given = []
    fpn.upsample[0].register_forward_pre_hook(lambda module, arguments: given.append(arguments[1]))
    fine = torch.randn(2, 3, 12, 18)
    for coarse, sizes in [((6, 9), [(12, 18)]), ((3, 5), [(6, 9), (12, 18)])]:
        given.clear()
        fpn({"a": fine, "b": torch.randn(2, 3, *coarse)})
        lateral = fpn.inner_blocks[0](fine)
        assert [tuple(guide.shape[-2:]) for guide in given] == sizes
        assert torch.equal(given[-1], lateral)
        if len(given) == 2:
            expected = lateral.unflatten(3, (9, 2)).unflatten(2, (6, 2)).mean(dim=(3, 5))
            torch.testing.assert_close(given[0], expected)


def test_maps_of_one_size_and_of_four_times_the_size():
    fpn = InterpolatedFPN([3, 3, 3], C, interpolator="bilinear")
    maps = {name: torch.randn(1, 3, side, side) for name, side in (("fine", 31), ("coarse", 8), ("same", 8))}
    top = fpn.inner_blocks[2](maps["same"]) + fpn.inner_blocks[1](maps["coarse"])
    twice = F.interpolate(top, scale_factor=2, mode="bilinear")
    expected = fpn.inner_blocks[0](maps["fine"]) + F.interpolate(twice, scale_factor=2, mode="bilinear")[..., :31, :31]
    torch.testing.assert_close(fpn(maps)["fine"], fpn.layer_blocks[0](expected))


@pytest.mark.parametrize("sizes", [(8, 16), (16, 7), (13, 8), (17, 8)])
def test_maps_that_are_not_halves_are_refused(sizes):
    fpn = InterpolatedFPN([3, 3], C, interpolator="nearest")
    with pytest.raises(ValueError, match=f"the map 'c0' is {sizes[0]} x {sizes[0]}, .* is {sizes[1]} x {sizes[1]}"):
        fpn({f"c{level}": torch.randn(1, 3, side, side) for level, side in enumerate(sizes)})


# --- detection models -------------------------------------------------------------------------------------------------

SMALL = {"weights": None, "weights_backbone": None, "min_size": 64, "max_size": 96}


def backbone(levels=(1, 2, 3, 4), extra=None):
    """A ResNet-18 and an FPN of 32 channels, the least that FCOS's normalisation takes."""
    body = resnet18(norm_layer=FrozenBatchNorm2d)
    layers = {f"layer{level}": str(place) for place, level in enumerate(levels)}
    return BackboneWithFPN(body, layers, [32 * 2**level for level in levels], 32, extra)


def p3_to_p7():
    return backbone((2, 3, 4), LastLevelP6P7(32, 32))


TWO = {"num_classes": 3, "min_size": 64, "max_size": 96}
FEW = {"box_detections_per_img": 5, "rpn_pre_nms_top_n_train": 50, "rpn_pre_nms_top_n_test": 50}
MODELS = {
    "Faster R-CNN": lambda: detection.FasterRCNN(backbone(), **FEW, **TWO),
    "Mask R-CNN": lambda: detection.MaskRCNN(backbone(), **FEW, **TWO),
    "Keypoint R-CNN": lambda: detection.KeypointRCNN(
        backbone(),
        keypoint_head=KeypointRCNNHeads(32, (8, 8)),
        keypoint_predictor=KeypointRCNNPredictor(8, 2),
        **FEW,
        **TWO,
    ),
    "RetinaNet": lambda: detection.RetinaNet(p3_to_p7(), detections_per_img=5, score_thresh=0.0, **TWO),
    "FCOS": lambda: detection.FCOS(p3_to_p7(), detections_per_img=5, score_thresh=0.0, **TWO),
    "MobileNetV3": lambda: detection.fasterrcnn_mobilenet_v3_large_320_fpn(num_classes=3, **SMALL),
}
IMAGES = [(3, 60, 90), (3, 75, 64)]


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]().eval()


def fpns(model):
    return [module for module in model.modules() if isinstance(module, FeaturePyramidNetwork)]


def targets(model):
    boxes = torch.tensor([[5.0, 5.0, 40.0, 45.0], [20.0, 10.0, 50.0, 55.0]])
    found = []
    for _, height, width in IMAGES:
        target = {"boxes": boxes, "labels": torch.tensor([1, 1]), "masks": torch.zeros(2, height, width).byte()}
        target["masks"][:, 10:40, 10:35] = 1
        target["keypoints"] = torch.tensor([[[10.0, 10, 1], [30, 30, 1]], [[25, 15, 1], [45, 50, 1]]])
        found.append(target)
    return found


def test_nearest_changes_no_bit_of_any_model(model):
    images = [torch.rand(shape) for shape in IMAGES]
    changed = copy.deepcopy(model)
    with torch.no_grad():
        expected = model(images)
        assert replace_interpolation(changed, "nearest") is changed
        found = changed(images)
    assert [type(fpn) for fpn in fpns(changed)] == [InterpolatedFPN]
    assert list(changed.state_dict()) == list(model.state_dict())
    assert any(len(one["boxes"]) for one in expected)
    for theirs, ours in zip(expected, found, strict=True):
        assert theirs.keys() == ours.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_any_model_keeps_its_weights_and_trains_with_g(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.random.get_rng_state()
    changed = replace_interpolation(copy.deepcopy(model), "afi", blocks="rdb")
    assert torch.equal(torch.random.get_rng_state(), random)
    after = changed.state_dict()
    (name,) = (name for name, module in changed.named_modules() if isinstance(module, InterpolatedFPN))
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert after.keys() - before.keys() == {key for key in after if key.startswith(f"{name}.upsample.0.")}
    changed.train()
    losses = changed([torch.rand(shape) for shape in IMAGES], targets(model))
    sum(losses.values()).backward()
    interpolator = fpns(changed)[0].upsample[0]
    learned = [p.grad is not None and bool(p.grad.any()) for p in interpolator.parameters()]
    sizes = {value.shape[-2:] for value in changed.backbone.body(torch.rand(1, 3, 64, 64)).values()}
    assert all(learned) if len(sizes) > 1 else not any(learned)  # MobileNetV3's two maps have one size


def test_an_optimizer_from_before_still_holds_the_models_parameters(model):
    changed = copy.deepcopy(model)
    parameters = dict(changed.named_parameters())
    replace_interpolation(changed, "bilinear")
    assert all(value is parameters[name] for name, value in changed.named_parameters())


def test_frozen_and_half_precision_parts_stay_so():
    model = BackboneWithFPN(resnet18(), {"layer1": "0", "layer2": "1"}, [64, 128], C).bfloat16().eval()
    model.fpn.inner_blocks.requires_grad_(False)
    replace_interpolation(model, "nearest-5conv")
    assert {value.dtype for name, value in model.fpn.upsample.named_parameters()} == {torch.bfloat16}
    assert not any(module.training for module in model.modules())
    assert not any(p.requires_grad for p in model.fpn.inner_blocks.parameters())
    assert all(value.dtype == torch.bfloat16 for value in model(torch.rand(1, 3, 32, 32).bfloat16()).values())


def test_an_fpn_itself_has_a_successor_and_can_be_changed_again():
    fpn = FeaturePyramidNetwork(CHANNELS, C)
    first = replace_interpolation(fpn, "deconv")
    assert isinstance(first, InterpolatedFPN) and len(first.upsample) == 3
    again = replace_interpolation(first, "nearest")
    maps = features(32, 32)
    assert all(torch.equal(value, fpn(maps)[name]) for name, value in again(maps).items())


def test_errors_leave_the_model_as_it_was():
    model = MODELS["Faster R-CNN"]()
    for name, options, message in (
        ("cubic", {}, "unknown interpolator 'cubic'"),
        ("nearest", {"blocks": "rb"}, "'nearest' has no option blocks"),
    ):
        with pytest.raises(ValueError, match=message):
            replace_interpolation(model, name, **options)
    assert [type(fpn) for fpn in fpns(model)] == [FeaturePyramidNetwork]
    with pytest.raises(ValueError, match=r"ResNet has no torchvision\.ops\.FeaturePyramidNetwork"):
        replace_interpolation(resnet18())


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_whole_detector_exports_as_onnx_for_any_image_size(tmp_path):
    """By torchvision's way, the scripted exporter; torch.export takes no detector."""
    torch.manual_seed(0)
    model = replace_interpolation(MODELS["Faster R-CNN"](), "afi").eval()
    model.roi_heads.score_thresh = 0.0
    path, axes = tmp_path / "detector.onnx", {"image": {1: "height", 2: "width"}}
    torch.onnx.export(
        model,
        ([torch.rand(3, 64, 96)],),
        path,
        dynamo=False,
        opset_version=17,
        input_names=["image"],
        dynamic_axes=axes,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    image = torch.rand(3, 80, 64)
    with torch.no_grad():
        (expected,) = model([image])
    boxes, *_ = session.run(None, {"image": image.numpy()})
    assert len(boxes) == len(expected["boxes"]) > 1
    np.testing.assert_allclose(boxes, expected["boxes"].numpy(), rtol=0, atol=1e-3)


def test_torchvision_alone_is_enough():
    code = """
        import torch
        from torchvision.models import resnet18
        from torchvision.models.detection import RetinaNet
        from torchvision.models.detection.backbone_utils import BackboneWithFPN
        from afigan.torchvision import replace_interpolation
        for name in ("detectron2", "pydantic", "yaml", "safetensors", "pycocotools"):
            try:
                __import__(name)
            except ModuleNotFoundError:
                continue
            raise SystemExit(f"{name} should be hidden")
        layers = {f"layer{i + 1}": str(i) for i in range(4)}
        backbone = BackboneWithFPN(resnet18(), layers, [64, 128, 256, 512], 32)
        model = replace_interpolation(RetinaNet(backbone, 2, min_size=64), "afi")
        print(len(model.eval()([torch.rand(3, 64, 64)])))
    """
    done = alone.run(code, "torch", "torchvision")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"
