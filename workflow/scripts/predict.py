"""Detect objects in one's own images: `afigan predict`, from a checkout."""

from _stage import command

from afigan.commands import predict

if __name__ == "__main__":
    command(predict)
