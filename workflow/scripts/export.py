"""Write the interpolator of a trained model for other programs: `afigan export`, from a checkout."""

from _stage import command

from afigan.commands import export

if __name__ == "__main__":
    command(export)
