"""What all tests of exporters share."""

import sys

import pytest


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
