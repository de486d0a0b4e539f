"""What all tests of exporters share."""

import sys

import pytest

from exporters.__main__ import main


@pytest.fixture(scope="module", autouse=True)
def quiet_torch():
    """One thread, where there is a torch: small networks gain nothing from more, and results do not depend on them."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def assert_refused(tmp_path, capsys):
    """A command ends with exit code 2 and one line that holds a text, and leaves nothing behind."""

    def check(words, message):
        assert main([*words, "-o", str(tmp_path / "out")]) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert message in err
        assert not (tmp_path / "out").exists()

    return check
