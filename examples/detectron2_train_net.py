"""Train a detectron2 detector whose pyramid upsamples with AFI-GAN's interpolator, as detectron2's tools/train_net.py.

  python examples/detectron2_train_net.py --images /data/mine/train --annotations /data/mine/train.json \\
      MODEL.AFIGAN.INTERPOLATOR afi SOLVER.MAX_ITER 1000 OUTPUT_DIR runs/mine

It needs afigan[detection,detectron2]. The weights go to OUTPUT_DIR; the same command with --resume continues.
`--weights models/afigan/main` starts the interpolator from stage 1. --config-file is a file of detectron2's.
"""

import argparse
from typing import Any

import afigan  # before detectron2, so that v0.6's Python sources find what they lack  # isort: skip
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import DefaultTrainer, default_argument_parser, default_setup, launch

from afigan.export.source import load_interpolator

TRAIN = "afigan_example_train"


def configure(arguments: argparse.Namespace) -> CfgNode:
    """Return detectron2's config: Mask R-CNN R-50-FPN, changed by the config file and the command line."""
    cfg = get_cfg()
    afigan.add_afigan_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.MASK_ON = True
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    levels = ["p2", "p3", "p4", "p5"]
    cfg.MODEL.RPN.IN_FEATURES = [*levels, "p6"]
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_HEADS.IN_FEATURES = levels
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 2
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    cfg.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 4
    cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION = 14
    # all that a project of your own needs beside `add_afigan_config`
    cfg.MODEL.BACKBONE.NAME = "build_afigan_fpn_backbone"
    cfg.MODEL.AFIGAN.INTERPOLATOR = "afi"
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (TRAIN,), ()
    if arguments.config_file:
        cfg.merge_from_file(arguments.config_file)
    cfg.merge_from_list(arguments.opts)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(MetadataCatalog.get(TRAIN).thing_classes)
    cfg.freeze()
    return cfg


def main(arguments: argparse.Namespace) -> Any:
    """Train; return the trainer."""
    if TRAIN not in DatasetCatalog.list():
        register_coco_instances(TRAIN, {}, arguments.annotations, arguments.images)
    DatasetCatalog.get(TRAIN)  # reads the names of the classes
    cfg = configure(arguments)
    default_setup(cfg, arguments)
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume=arguments.resume)
    if arguments.weights and not arguments.resume:
        trained = load_interpolator(arguments.weights)
        model = getattr(trainer.model, "module", trainer.model)  # that of several GPUs is wrapped
        for place in model.backbone.upsample:  # one, or one for each place of the pyramid
            place.load_state_dict(trained.module.state_dict())
    trainer.train()
    return trainer


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = default_argument_parser(__doc__)
    parser.add_argument("--images", required=True, help="folder of the training images")
    parser.add_argument("--annotations", required=True, help="their COCO annotation file")
    parser.add_argument("--weights", help="a trained model of this project, whose interpolator training starts from")
    return parser.parse_args(argv)


if __name__ == "__main__":
    given = parse()
    launch(main, given.num_gpus, given.num_machines, given.machine_rank, given.dist_url, args=(given,))
