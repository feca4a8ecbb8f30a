"""params.yaml -> checked parameters: read, checked against the schema, or composed from conf/.

Unknown keys, wrong types, impossible values and references to experiments that do not exist are errors that name the
key, all of them at once, before anything runs.
"""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from afigan.references import broken_references
from afigan.replicas import replicate
from afigan.schema import Params


def check_params(values: Any, source: str = "params.yaml") -> Params:
    """Check the contents of a params.yaml.

    Raises:
        ValueError: anything wrong, one line for each, naming the key.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{source}: expected sections such as data: and model:, found {type(values).__name__}")
    lines = []
    try:
        params = Params.model_validate(values)
        lines = broken_references(params)
    except ValidationError as error:
        for item in error.errors():
            where = ".".join(str(part) for part in item["loc"] if part != "[key]")
            message = item["msg"].removeprefix("Value error, ")
            if item["type"] == "extra_forbidden":
                message = "unknown key; remove it or see afigan/schema.py for the names"
            elif item["type"] == "missing":
                message = "missing"
            else:
                message += f" (found {item['input']!r})" if not isinstance(item["input"], dict | BaseModel) else ""
            lines.append(f"{where}: {message}" if where else message)
    if lines:
        raise ValueError(f"{source} has {len(lines)} problem(s):\n  " + "\n  ".join(lines))
    return params


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and check a params.yaml.

    Raises:
        ValueError: as `check_params`; or the file is missing or no YAML.
    """
    try:
        values = yaml.safe_load(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: compose it with `make params PROFILE=mini`") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from None
    return check_params(values, str(path))


def compose(profile: str, conf: str | Path = "conf") -> dict[str, Any]:
    """The values of params.yaml for a profile of `conf/profile`: composed by Hydra, its `seeds` written out.

    `dvc exp run -S profile=…` composes them too, but for a profile with `seeds`.

    Raises:
        ValueError: no such profile, or what it composes to is wrong.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    profiles = sorted(path.stem for path in (Path(conf) / "profile").glob("*.yaml"))
    if profile not in profiles:
        raise ValueError(f"there is no profile {profile!r}: choose one of {', '.join(profiles)}")
    with initialize_config_dir(str(Path(conf).resolve()), version_base=None):
        values = OmegaConf.to_container(hydra_compose("config", overrides=[f"profile={profile}"]), resolve=True)
    values = replicate(values)
    check_params(values, f"profile {profile}")
    return values
