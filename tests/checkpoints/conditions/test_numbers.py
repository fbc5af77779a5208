"""Every condition from 1 to 62 has a test that names its number."""

import re
from pathlib import Path


def test_every_number_stands_in_the_name_of_a_test():
    numbers = set()
    for file in Path(__file__).parents[1].rglob("test_*.py"):
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE):
            numbers |= set(map(int, re.findall(r"_(\d\d)(?=_)", name)))
    assert numbers == set(range(1, 63))
