"""Show the progress of every experiment of params.yaml: `afigan status`, from a checkout."""

from _stage import command

from afigan.commands import status

if __name__ == "__main__":
    command(status)
