"""Read params.yaml, check it against the schema, or compose it from conf/.

Unknown keys, wrong types, impossible values and references to experiments that do not exist are errors. Each error
names its key. All errors are reported at once, before anything runs.
"""

import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from afigan.params.references import broken_references, reasons
from afigan.params.schema import Params
from afigan.params.seeds import evaluate_rows, replicate
from afigan.runtime.files import digest


def check_params(values: Any, source: str = "params.yaml") -> Params:
    """Check the contents of a params.yaml.

    Raises:
        ValueError: something is wrong; the text has one line for each problem, with its key.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{source}: expected sections such as data: and model:, found {type(values).__name__}")
    try:
        params = Params.model_validate(values)
        lines = broken_references(params)
    except ValidationError as error:
        lines = reasons(error)
    if lines:
        raise ValueError(f"{source} has {len(lines)} problem(s):\n  " + "\n  ".join(lines))
    return params


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader that also refuses a duplicate key and a value that contains itself, and reads 1e-5."""

    def construct_document(self, node: yaml.Node) -> Any:
        return self.construct_object(node, deep=True)  # it refuses a node that it is already constructing

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        merge = "tag:yaml.org,2002:merge"
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != merge]
        values = super().construct_mapping(node, deep)
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} appears twice", node.start_mark)
        return values


# numbers of YAML 1.2, which DVC writes; PyYAML has those of YAML 1.1, which need a point: 1.0e-5
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and check a params.yaml.

    Raises:
        ValueError: as `check_params`; or the file is missing, cannot be read or is not YAML.
    """
    try:
        values = yaml.load(Path(path).read_text("utf-8"), _Loader)
    except FileNotFoundError:
        above = _above(path)
        raise ValueError(f"{path} does not exist: {above or 'compose it with `make params PROFILE=mini`'}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # PyYAML has no error of its own for a month 13, 5000 digits, 1000 brackets
        remedy = "correct it or compose it again with `make params`"
        if "unknown escape character" in str(error):  # as in "(.*)_\d+"
            remedy = "write a text with backslashes in single quotes"
        raise ValueError(f"{path} is not YAML: {error}; {remedy}") from None
    return check_params(values, str(path))


def compose(profile: str, conf: str | Path = "conf") -> dict[str, Any]:
    """Compose the values of params.yaml for a profile of `conf/profile` with Hydra; write out evaluations and `seeds`.

    Raises:
        ValueError: there is no such profile, no profile at all, or the composed values are wrong.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    profiles = sorted(path.stem for path in (Path(conf) / "profile").glob("*.yaml"))
    if not profiles:
        above = _above(Path(conf, "profile")) or "run this in the project's root, or name its folder with --conf"
        raise ValueError(f"{conf} has no profiles: {above}")
    if profile not in profiles:
        raise ValueError(f"there is no profile {profile!r}: choose one of {', '.join(profiles)}")
    with initialize_config_dir(str(Path(conf).resolve()), version_base=None):
        composed = OmegaConf.to_container(hydra_compose("config", overrides=[f"profile={profile}"]), resolve=True)
    values = replicate(evaluate_rows(cast(dict[str, Any], composed)))  # the type is that of any YAML node
    found = composed_digest(check_params(values, f"profile {profile}"))
    return {"composed": {"profile": profile, "digest": found}} | values


def composed_digest(params: Params) -> str:
    """Return a digest of all parameters, for `Params.composed`."""
    return digest(params.model_dump(mode="json", exclude={"composed"}))[:16]


def _above(path: str | Path) -> str:
    """Return the command that leads from a subfolder to the folder that has a relative path; "" if none has it."""
    if not Path(path).is_absolute():
        for folder in Path.cwd().parents:
            if (folder / path).exists():
                return f"this runs in a folder above: `cd {os.path.relpath(folder)}`"
    return ""
