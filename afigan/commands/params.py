"""Compose conf/ with one of its profiles into params.yaml, which is what both engines read."""

import argparse
from pathlib import Path

HEADER = """\
# Composed from conf/ by `make params PROFILE={profile}`, which overwrites it. Its keys: afigan/params/schema.py.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", required=True, help="NAME of conf/profile/NAME.yaml")
    parser.add_argument("-o", "--output", default="params.yaml", type=Path, help="default: %(default)s")
    parser.add_argument("--conf", default="conf", type=Path, help="folder of the profiles (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    import yaml

    from afigan.params.loading import compose
    from afigan.runtime.files import atomic_path

    text = yaml.safe_dump(compose(arguments.profile, arguments.conf), sort_keys=False, allow_unicode=True)
    with atomic_path(arguments.output) as temporary:
        temporary.write_text(HEADER.format(profile=arguments.profile) + text, "utf-8")
