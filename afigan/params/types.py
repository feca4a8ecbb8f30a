"""The types of values in params.yaml: ranges, names, and the form of a section."""

import json
import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from afigan.params.registered import heads, interpolators, tables

LARGEST = 2**31 - 1  # the largest number that torch and the file formats count with
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
NonNegative = Annotated[int, Field(ge=0, le=LARGEST)]
Size = Annotated[int, Field(ge=1, le=2**16)]  # pixels, or channels
Workers = Annotated[int, Field(ge=0, le=1024)]  # processes or threads
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # numpy's limit
Finite = Annotated[float, Field(allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)]  # names files and folders
Row = Annotated[str, Field(pattern=r"^[^\p{Cc}|]+$")]  # fits into a cell of a Markdown table
Place = Annotated[str, Field(pattern=r"^[^\x00]+$")]  # a path
Level = Literal["p2", "p3", "p4", "p5", "p6", "p7"]
Pyramid = Literal["fpn", "pafpn", "bifpn"]
Degradation = Literal["nearest", "bilinear", "bicubic"]
Match = Literal["same", "different"]
Upsampling = Literal["per_level", "iterated"]


def _yaml_switch(value: Any) -> Any:
    """Return `on` for true and `off` for false: YAML 1.1 reads the bare words so, and YAML 1.2 does not."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


Adversarial = Annotated[Literal["on", "detached", "off"], BeforeValidator(_yaml_switch)]


def _one_of(names: Iterable[str]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"choose one of {', '.join(names)}")
        return value

    return AfterValidator(check)


Interpolator = Annotated[str, _one_of(interpolators())]
Head = Annotated[str, _one_of(heads())]
Table = Annotated[str, _one_of(tables())]


def no_twins(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError("a value appears twice: remove one")
    return values


def _ascending(values: list[float]) -> list[float]:
    if any(before >= after for before, after in pairwise(values)):
        raise ValueError("each has to be larger than the one before")
    return values


def _hashable(values: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(values, allow_nan=False)
    except ValueError:
        raise ValueError("NaN and infinity are not allowed here") from None
    return values


def with_a_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    if not groups:
        raise ValueError(r"has no group: put brackets around the part that belongs together, as in '(.*)_\d+'")
    return pattern


Limits = Annotated[list[Rate], Field(min_length=4, max_length=4), AfterValidator(_ascending)]
Keys = Annotated[list[Key], Field(min_length=1), BeforeValidator(lambda one: [one] if isinstance(one, str) else one)]
Options = Annotated[dict[str, JsonValue], AfterValidator(_hashable)]


class Section(BaseModel):
    """A part of params.yaml: no unknown keys, no silent conversions, no changes after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
