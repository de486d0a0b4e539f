"""Parameters of the node: the names of `tracker run` and of its TOML files, where they make sense for a node."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, NoReturn

from tracker.cli.config import add_flags, load
from tracker.cli.guidance import GuidanceConfig
from tracker.cli.network import NetworkConfig
from tracker.cli.opening import check_model, loop_network, open_network, open_tracker, side_networks
from tracker.cli.rehearsal import rehearse
from tracker.cli.run_config import RunConfig
from tracker.cli.state import StateFile
from tracker.errors import ConfigError
from tracker.pipeline import detect, every, own_network
from tracker.ros import Messages
from tracker.sinks import RunInfo
from trackstream_ros.follower import Follower

_FIELDS = {field.name: field for field in dataclasses.fields(RunConfig)}

NAMES = (
    *(field.name for kind in (NetworkConfig, GuidanceConfig) for field in dataclasses.fields(kind)),
    "tracker", "set", "state",
)  # fmt: skip
"""Parameters; the node declares each with the default "", which means: as in the TOML file, else the default."""


class _Parser(argparse.ArgumentParser):
    """Speaks of parameters, and does not end the process."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"parameters: {message.replace('argument --', '')}")


def configure(parameters: Mapping[str, Any], toml: str = "") -> RunConfig:
    """The config from parameters, the TOML file and the defaults, in this order of precedence.

    Args:
        parameters: name -> value; "" and None stand for nothing. Lists are taken where the command line takes them.
        toml: path of a file of `tracker run`, whose other keys count for nothing here; "" for none.

    Raises:
        ConfigError: an unknown name, a value that makes no sense, a file that cannot be read.
    """
    unknown = sorted(set(parameters) - {*NAMES})
    if unknown:
        raise ConfigError(f"unknown parameter {unknown[0]!r}; known are {', '.join(NAMES)}")
    words: list[str] = []
    for name, value in parameters.items():
        flag = name.replace("_", "-")
        if value is None or value == "":
            continue
        if isinstance(value, bool) and isinstance(_FIELDS[name].default, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif name == "set":
            words += [f"--set={pair}" for pair in ([value] if isinstance(value, str) else value)]
        else:
            many = not isinstance(value, str | bool | int | float)
            words.append(f"--{flag}={','.join(map(str, value)) if many else value}")
    parser = _Parser(prog="track", add_help=False, allow_abbrev=False)
    add_flags(parser, RunConfig)
    return load(RunConfig, parser.parse_args(words), toml or None, source="")


def open_follower(config: RunConfig, messages: Messages, frame_rate: float = 30.0) -> tuple[Follower, StateFile | None]:
    """Network and tracker of a config, compiled and warm: the first image shall not come late.

    Args:
        config: of `configure`.
        messages: the classes.
        frame_rate: nominal frames per second of the camera.

    Returns:
        The follower, and what keeps its tracker in the file `state`, if there shall be one.

    Raises:
        ConfigError: no model, or one that does not give what the system compares.
        ModelError: the model cannot be opened, or not on the device that was asked for.
        SnapshotError: the file `state` cannot be read, or is of another tracker.
    """
    check_model(config)
    model = open_network(config)
    tracker = open_tracker(config, model, side_networks(config), frame_rate)
    rehearse(tracker, [], RunInfo(), glides=config.detect_every > 1)
    state = None if config.state is None else StateFile(config.state, tracker, live=True)
    network = own_network(loop_network(model, config, tracker.plan))
    follower = Follower(
        partial(detect, network), tracker, messages, model.card.class_names,
        step_s=1.0 / frame_rate, look=every(config.detect_every),
    )  # fmt: skip
    return follower, state
