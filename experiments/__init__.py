"""What was run and why: assets that were made, studies, benchmarks. Nothing imports it.

The program's own scripts once stood here. A command that still calls one of them by its
old name is told the new one.
"""

import sys

MOVED = {
    "choose": "choose",
    "convert_checkpoint": "convert",
    "finetune": "finetune",
    "leaderboard": "leaderboard",
    "methods": "methods",
    "records": "records",
    "report": "report",
    "results": "results",
    "similarity": "similarity",
    "tables": "table",
    "tune": "tune",
    "vqa_answers": "vqa_answers",
}

for _word in sys.orig_argv[1:3]:  # python -m experiments.NAME
    _name = _word.removeprefix("experiments.")
    if _word != _name and _name in MOVED:
        sys.exit(f"error: {_word} has another name now: python -m tadrop {MOVED[_name]}")
