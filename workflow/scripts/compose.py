"""Compose conf/ into params.yaml: `afigan params`, from a checkout."""

from _stage import command

from afigan.commands import params

if __name__ == "__main__":
    command(params)
