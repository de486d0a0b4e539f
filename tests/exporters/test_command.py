import sys

import pytest

import exporters
from exporters import __main__ as command


def test_unknown_family(capsys):
    with pytest.raises(SystemExit) as end:
        command.main(["nothing"])
    assert end.value.code == 2
    assert "street" in capsys.readouterr().err


def test_help_needs_no_torch(capsys):
    with pytest.raises(SystemExit) as end:
        command.main(["--help"])
    assert end.value.code == 0
    assert "street" in capsys.readouterr().out


def test_without_torch_one_line_says_what_to_install(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("exporters.") and name != "exporters.__main__"]:
        monkeypatch.delitem(sys.modules, name)
        if name.count(".") == 1:  # a second import would leave its own module there
            monkeypatch.setattr(exporters, name.partition(".")[2], None, raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)  # import torch -> ModuleNotFoundError
    assert command.main(["street", "--train", "-o", "x.onnx"]) == 2
    assert capsys.readouterr().err == "error: exporters need torch: pip install 'trackstream[export]'\n"
