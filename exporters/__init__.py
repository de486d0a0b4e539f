"""Where networks are trained and exported; the only folder that knows torch. Not part of the wheel.

`python -m exporters street --train -o tracker/assets/street.onnx` makes the network that the wheel carries.
Modules that need torch import it at their top; `scenes`, `quality` and `parity` work without it.
"""
