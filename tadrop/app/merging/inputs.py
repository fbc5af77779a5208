"""Where the inputs of a request are, and whether OUT may be written beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from tadrop.app.merging.request import Request, configuration
from tadrop.app.schema.only_merges import check_only_merges
from tadrop.app.schema.telling import check_composed
from tadrop.checkpoints.words import Place, place
from tadrop.checkpoints.words import places as all_places
from tadrop.storage import folders


@dataclass(frozen=True)
class Places:
    """Where a request's inputs are."""

    base: Place | None
    experts: Mapping[str, Place]


def configured(request: Request) -> DictConfig:
    """The configuration of a request whose words are all right.

    Nothing of it needs torch, whose import takes seconds; no checkpoint is opened.
    Raises TadropError for what is wrong, words before inputs.
    """
    cfg = configuration(request)
    check_composed(cfg)
    check_out(request, located(request))
    check_only_merges(cfg)
    return cfg


def located(request: Request, hub: str | None = None) -> Places:
    """Finds every input. Raises TadropError for the first that is not there."""
    base = None if request.base is None else place(request.base, hub)
    experts = all_places(request.experts, hub)
    return Places(base, experts)


def check_out(request: Request, places: Places) -> None:
    """Raises TadropError where OUT is an input, holds one, lies in one or is taken."""
    inputs: list[Path] = []
    for one in (places.base, *places.experts.values()):
        if one is not None:
            inputs.append(one.path)
    folders.check(Path(request.out), request.overwrite, inputs)
