import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
if "PYTEST_XDIST_WORKER" in os.environ:  # read when torch is first imported: workers share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def repository():
    """The folder that holds run.py and conf/."""
    from pathlib import Path

    return Path(__file__).parents[1]
