"""The command `afigan`, or `python -m afigan`; its commands are the modules of `afigan.commands`."""

import argparse
from collections.abc import Sequence
from importlib import import_module

import afigan
from afigan.commands import COMMANDS
from afigan.runtime.exits import clean_exit


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command.

    Exit status: 0 done, 2 an error that the user has to fix, 75 ended by SIGTERM, 130 interrupted.
    """
    parser = argparse.ArgumentParser("afigan", description="AFI-GAN: learned interpolation for feature pyramids")
    parser.add_argument("--version", action="version", version=f"afigan {afigan.__version__}")
    choices = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {name: import_module(f"afigan.commands.{name}") for name in COMMANDS}
    for name, module in modules.items():
        doc = module.__doc__ or ""
        one = choices.add_parser(
            name,
            help=doc.partition("\n")[0].rstrip("."),
            description=doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.add_argument("--traceback", action="store_true", help="show the traceback of an error")
        module.add_arguments(one)
    arguments = parser.parse_args(argv)
    with clean_exit(f"afigan {arguments.command}", arguments.traceback):
        modules[arguments.command].run(arguments)


if __name__ == "__main__":
    main()
