"""Records of the demo with made-up numbers, and its table."""

import pytest

from tadrop.app.boards.board import Board
from tadrop.app.boards.contents import Sources, table_of
from tadrop.app.boards.recorded import collect
from tests import synthetic


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """The demo's records, but for some, and a small number of them with a grid."""
    folder = tmp_path_factory.mktemp("records")
    return folder, synthetic.fill(folder, "demo", skip=7)


@pytest.fixture(scope="module")
def rendered(filled):
    folder, _ = filled
    records = collect(Board("demo"), folder, partial=True).records
    return table_of(records, Sources(folder, folder / "none")), records, folder
