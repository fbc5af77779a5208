import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")


@pytest.fixture(scope="session")
def repository():
    """The folder that holds run.py and conf/."""
    from pathlib import Path

    return Path(__file__).parents[1]
