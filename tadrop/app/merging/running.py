"""A request carried out: checks, the merge, and what is written beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tadrop.app.merging import card
from tadrop.app.merging.recipes import recipe
from tadrop.app.merging.request import Request, configuration
from tadrop.app.runs.checks import check
from tadrop.app.runs.exporting import merge_only
from tadrop.checkpoints.words import Place, place
from tadrop.checkpoints.words import places as all_places
from tadrop.merging.export import Written
from tadrop.storage import folders


@dataclass(frozen=True)
class Places:
    """Where a request's inputs are."""

    base: Place | None
    experts: Mapping[str, Place]


def run(request: Request) -> Written:
    """Merges into the request's folder. Raises TadropError for all that is wrong."""
    cfg = configuration(request)
    check(cfg)
    places = located(request)
    check_out(request, places)
    text = recipe.written(request, places.base, places.experts)

    def pages(note: Mapping[str, Any]) -> dict[str, str]:
        told = card.written(request, places.base, places.experts, note)
        return {recipe.NAME: text, "README.md": told}

    return merge_only(cfg, pages)


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
