"""Files are as readable for others as the system makes new files."""

import torch

from tadrop.storage.files import write_tensors, write_text


def test_tensors_are_as_readable_as_texts(tmp_path):
    write_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(2)})
    write_text(tmp_path / "x.txt", "a")
    modes = [path.stat().st_mode for path in sorted(tmp_path.iterdir())]
    assert modes[0] == modes[1]
