"""Values from outside, shortened to one line for messages."""

import reprlib

LONGEST = 200  # characters


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxdict, self.maxstring, self.maxother = 3, 8, 4, LONGEST, 100

    def repr_int(self, x: int, level: int) -> str:
        try:
            return super().repr_int(x, level)
        except ValueError:  # Python does not write out very long numbers
            return f"a number of {x.bit_length()} bits"


def shown(value: object) -> str:
    """Return `repr(value)` on one line, cut short where it is long or deep."""
    text = _Short().repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
