"""What the tests of this room share."""

import pytest

from tests import tiny


@pytest.fixture
def bench(tmp_path):
    return tiny.bench(tmp_path)
