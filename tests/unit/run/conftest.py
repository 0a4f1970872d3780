import socket

import pytest


@pytest.fixture
def port() -> int:
    """A port that nobody has."""
    with socket.create_server(("", 0)) as free:
        return free.getsockname()[1]
