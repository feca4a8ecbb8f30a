"""README's lines for a data set of one's own, as a reader follows them."""

import re
from pathlib import Path
from typing import Any

import yaml
from composed import composed

README = Path(__file__).resolve().parents[2] / "README.md"


def own_data(profile: str, folder: Path, head: str | None = None) -> dict[str, Any]:
    """Return params.yaml's values after README's snippet, whose /data/mine is `folder`.

    The section `data` is the snippet's, and in `model` only `head` changes; `head`: another one than the snippet's.
    """
    values = composed(profile)
    own = yaml.safe_load(snippet().replace("/data/mine", folder.as_posix()))
    assert own.keys() == {"data", "model"} and own["model"].keys() == {"head"}
    values["data"] = own["data"]
    values["model"] |= own["model"] if head is None else {"head": head}
    return values


def snippet() -> str:
    """Return the YAML of README's section on an own data set."""
    section = README.read_text("utf-8").split("## Your own data set\n")[1].split("\n## ")[0]
    (text,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    return text


def heads_without_masks() -> list[str]:
    """Return the heads that the snippet names for boxes without masks, and that need no other change."""
    comment = re.search(r"model: .*# without masks: ([\w, ]+);", snippet())
    assert comment
    return comment[1].split(", ")
