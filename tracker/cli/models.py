"""Say what an ONNX file is and whether the engine can run it."""

from __future__ import annotations

import argparse
import dataclasses
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    info = actions.add_parser("info", help="print a model's card, inputs and outputs")
    info.add_argument("model", help="ONNX file, or 'street' for the built-in network")
    info.add_argument("--family", help="what kind of network it is, where the file does not say")
    info.add_argument("--json", action="store_true", help="print JSON instead of text")


def execute(arguments: argparse.Namespace) -> int:
    """Open the model and print what it says about itself."""
    from tracker.models import open_model

    model = open_model(arguments.model, arguments.family)
    facts = dataclasses.asdict(model.card)
    facts["inputs"] = [str(spec) for spec in model.session.inputs.values()]
    facts["outputs"] = [str(spec) for spec in model.session.outputs.values()]
    facts["device"] = model.session.device
    if arguments.json:
        print(json.dumps(facts, indent=2, default=str))
    else:
        print("\n".join(f"{name:<16}{_short(value)}" for name, value in facts.items() if value not in (None, (), "")))
    return 0


def _short(value: object) -> str:
    if isinstance(value, tuple | list) and len(value) > 12:
        return ", ".join(str(item) for item in value[:12]) + f", ... ({len(value)})"
    return ", ".join(str(item) for item in value) if isinstance(value, tuple | list) else str(value)
