"""Merge fine-tuned models and measure the result: compose, load, sparsify, merge,
evaluate, record.

python run.py                                     the default run
python run.py merge=ties tadrop=off               one row of the table
python run.py -m merge=ties,emr tadrop=off,on     a sweep
python run.py model=local model.base=DIR 'model.experts=[DIR1,DIR2]' merge=ties evaluate=false export.dir=OUT
python run.py +board=demo [--dry-run]             a board of conf/board: its runs, then its table; or what is owed
python run.py --help                              every choice
"""

import sys

from tadrop.app.main import run_words

if __name__ == "__main__":
    run_words(sys.argv[1:])
