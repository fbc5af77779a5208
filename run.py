"""Merge fine-tuned models and measure the result: compose, load, sparsify, merge, evaluate, record.

python run.py                                     the default run
python run.py merge=ties tadrop=off               one row of the table
python run.py -m merge=ties,emr tadrop=off,on     a sweep
python run.py model=local model.base=DIR 'model.experts=[DIR1,DIR2]' merge=ties evaluate=false export.dir=OUT
python run.py +experiment=demo [--dry-run]        a recipe of conf/experiment: its runs, then its table; or what is owed
python run.py --help                              every choice
"""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from experiments.methods import listing

OmegaConf.register_new_resolver("rows", listing, replace=True)  # for --help


def run(cfg: DictConfig):
    """One run, or its record if there is one already. Returns the record."""
    from tadrop import pipeline, record
    from tadrop.console import waiting
    from tadrop.files import claimed

    config = OmegaConf.to_container(cfg, resolve=True)
    file = record.path(Path(cfg.paths.records), config)
    again = cfg.overwrite or cfg.export.dir
    if file.exists() and not again:
        return record.read(file)
    with claimed(file, Path(cfg.paths.cache) / "locks", lambda: waiting(pipeline.label(config))):
        return record.read(file) if file.exists() and not again else measure(cfg, config, file.parent)


def measure(cfg: DictConfig, config: dict, folder: Path):
    """Merges, evaluates, and writes the record into the folder. config: cfg, resolved. Returns the record."""
    from tadrop import pipeline, record
    from tadrop.console import stages

    meter = pipeline.Meter()
    with stages(pipeline.label(config)) as progress:
        with meter.stage("load"):
            bench, stream = pipeline.load(config)
        with meter.stage("prepare"):
            vectors = pipeline.prepare(cfg, bench, stream, progress)
        with meter.stage("sparsify"):
            sparse = pipeline.sparsify(vectors, cfg.sparsify, cfg.tadrop, progress)
        with meter.stage("statistics"):
            statistics = pipeline.statistics(cfg, bench, stream, progress)
        with meter.stage("merge"):
            merged = pipeline.merge(sparse, cfg.merge.method, statistics, progress)
        with meter.stage("select"):
            merged, selection = pipeline.select(cfg, bench, sparse, statistics, merged, progress)
        with meter.stage("refine"):
            merged = pipeline.refine(cfg, bench, sparse, merged, selection.scale, progress)
        with meter.stage("evaluate"):
            scores = pipeline.evaluate(bench, merged, selection.scale, cfg.split, progress)
        result = pipeline.describe(config, bench, sparse, merged, selection, scores, meter)
        record.write(folder, result, pipeline.tensor_rows(sparse), scores)
        if cfg.export.dir:
            pipeline.export(cfg, stream, merged, selection.scale)
    pipeline.tell(cfg.logger, result, folder)
    return result


REFERENCE = {  # what a reference run is not: sparsified, tuned, one of several seeds, exported
    "export": {"dir": None},
    "sparsify": None,
    "tadrop": None,
    "select": "fixed",
    "tuned": None,
    "seed": 0,
    "overwrite": False,
}


def reference_configs(cfg: DictConfig):
    """The runs that every table needs: the individual models and the untouched base on the same tasks."""
    return [OmegaConf.create({**cfg, **REFERENCE, "merge": merge}) for merge in cfg.references.values()]


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    from tadrop import pipeline
    from tadrop.console import compare, show, show_written

    sweeping = HydraConfig.get().mode is RunMode.MULTIRUN
    with pipeline.mistakes_in_one_line(sweeping):
        pipeline.check(cfg)
        if not cfg.evaluate:
            show_written(pipeline.merge_only(cfg))
            return
        individual, *others = (*reference_configs(cfg), cfg)
        records = [run(individual)]
        compare(records[0])  # a wrong split or head is seen before anything is merged
        records += map(run, others)
        show(records, Path(cfg.paths.records), brief=sweeping)


if __name__ == "__main__":
    sys.argv = ["dry_run=true" if word == "--dry-run" else word for word in sys.argv]
    main()
