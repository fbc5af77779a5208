"""Every row of the catalogue on a tiny GPT-2 and a tiny BEiT-3, plain and with TADrop, as run.py runs it."""

import pytest

import run
from tests import text_hub
from tests.test_contract import ROWS
from tests.test_data_rows import ROWS as QUICK
from tests.test_gpt2 import configured as gpt2_configured


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    return text_hub.write(folder / "hub"), folder


@pytest.mark.parametrize("tadrop", ["off", "on"])
@pytest.mark.parametrize("row", ROWS)
def test_gpt2(gpt2, row, tadrop):
    hub, folder = gpt2
    record = run.run(
        gpt2_configured(hub, folder, f"merge={row}", f"tadrop={tadrop}", "tasks.names=[cola,mrpc]", *QUICK.get(row, []))
    )
    assert [s["count"] for s in record["scores"]] == [12, 12]
