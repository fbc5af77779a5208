"""What the tests of this room share."""

import pytest

from tests import tiny_clip as tiny


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    for task in tiny.TASKS:
        tiny.write_dataset(folder, task)
    return folder
