"""A request carried out: checks, the merge, and what is written beside it."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from tadrop.app.merging import card
from tadrop.app.merging.inputs import configured, located
from tadrop.app.merging.recipes import recipe
from tadrop.app.merging.request import Request
from tadrop.app.runs.checks import check
from tadrop.app.runs.exporting import merge_only
from tadrop.merging.export import Written


def run(
    request: Request, cfg: DictConfig | None = None, silent: bool = False
) -> Written:
    """Merges into the request's folder. Raises TadropError for all that is wrong.

    cfg:    the request's configuration where somebody has it already
    silent: what is doubtful about the checkpoints was said before
    """
    cfg = configured(request) if cfg is None else cfg
    check(cfg)
    places = located(request)
    text = recipe.written(request, places.base, places.experts)

    def pages(note: Mapping[str, Any]) -> dict[str, str]:
        told = card.written(request, places.base, places.experts, note)
        return {recipe.NAME: text, "README.md": told}

    return merge_only(cfg, pages, silent)
