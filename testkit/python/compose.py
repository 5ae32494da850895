"""Checks a Compose file: against the published Compose JSON schema, which docker-compose carries, and its variables
against example configurations.

usage: compose.py FILE [CONFIG.toml…]   prints every place that is wrong; exit code 0 if there is none, else 1
"""

import importlib.metadata
import json
import pathlib
import re
import sys
import tomllib
from collections.abc import Iterator

import yaml
from jsonschema import Draft7Validator
from jsonschema.validators import validator_for

SCHEMA = "compose/config/compose_spec.json"
PREFIX = "SQEP__"


def against_schema(document: dict) -> Iterator[str]:
    """Places the schema does not allow."""
    schema = json.loads(importlib.metadata.distribution("docker-compose").locate_file(SCHEMA).read_text())
    for error in validator_for(schema, default=Draft7Validator)(schema).iter_errors(document):
        yield f"{error.json_path}: {error.message}"


def against_keys(document: dict, known: set[str]) -> Iterator[str]:
    """Variables that no example configuration has as a key."""
    for name, service in document["services"].items():
        for variable in service.get("environment", {}):
            if variable.startswith(PREFIX) and variable not in known:
                yield f"service {name}: {variable} is a key of no example configuration"


def whole(example: str) -> str:
    """An example with the keys that have no default, and therefore stand there as comments."""
    return re.sub(r"^# (?=[a-z_]+ = )", "", example, flags=re.MULTILINE)


def variables(config: dict) -> Iterator[str]:
    """The variable of each key of a configuration."""
    for section, keys in config.items():
        for key in keys:
            yield f"{PREFIX}{section}__{key}".upper()


def main() -> int:
    """Prints what is wrong."""
    compose, *configs = map(pathlib.Path, sys.argv[1:])
    document = yaml.safe_load(compose.read_text())
    known = {name for config in configs for name in variables(tomllib.loads(whole(config.read_text())))}
    wrong = list(against_schema(document)) or (list(against_keys(document, known)) if configs else [])
    print(*wrong, sep="\n", end="")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
