import pytest

from tests import tiny


@pytest.fixture
def bench(tmp_path):
    """A bench of three tiny tasks."""
    return tiny.bench(tmp_path)
