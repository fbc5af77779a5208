"""One run: compose, load, sparsify, merge, evaluate, record."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf


def run(cfg: DictConfig):
    """One run, or its record if there is one already. Returns the record."""
    from tadrop.app import pipeline
    from tadrop.app.console import waiting
    from tadrop.results import record
    from tadrop.storage.files import claimed

    config = OmegaConf.to_container(cfg, resolve=True)
    file = record.path(Path(cfg.paths.records), config)
    again = cfg.overwrite or cfg.export.dir
    if file.exists() and not again:
        return record.read(file)
    with claimed(
        file, Path(cfg.paths.cache) / "locks", lambda: waiting(pipeline.label(config))
    ):
        return (
            record.read(file)
            if file.exists() and not again
            else measure(cfg, config, file.parent)
        )


def measure(cfg: DictConfig, config: dict, folder: Path):
    """Merges, evaluates, and writes the record into the folder. config: cfg, resolved.
    Returns the record.
    """
    from tadrop.app import pipeline
    from tadrop.app.console import stages
    from tadrop.results import record

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
            merged, selection = pipeline.select(
                cfg, bench, sparse, statistics, merged, progress
            )
        with meter.stage("refine"):
            merged = pipeline.refine(
                cfg, bench, sparse, merged, selection.scale, progress
            )
        with meter.stage("evaluate"):
            scores = pipeline.evaluate(
                bench, merged, selection.scale, cfg.split, progress
            )
        result = pipeline.describe(
            config, bench, sparse, merged, selection, scores, meter
        )
        record.write(folder, result, pipeline.tensor_rows(sparse), scores)
        if cfg.export.dir:
            pipeline.export(cfg, stream, merged, selection.scale)
    pipeline.tell(cfg.logger, result, folder)
    return result


# what a reference run is not: sparsified, tuned, one of several seeds, exported
REFERENCE = {
    "export": {"dir": None},
    "sparsify": None,
    "tadrop": None,
    "select": "fixed",
    "tuned": None,
    "seed": 0,
    "overwrite": False,
}


def reference_configs(cfg: DictConfig):
    """The runs that every table needs: the individual models and the untouched base on
    the same tasks.
    """
    return [
        OmegaConf.create({**cfg, **REFERENCE, "merge": merge})
        for merge in cfg.references.values()
    ]
