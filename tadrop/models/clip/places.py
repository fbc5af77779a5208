"""Where CLIP's fine-tuned encoders are, and for which tasks there are any."""

from tadrop.protocols.tasks import ImageEntry, ImageTasks
from tadrop.types import TadropError

LOCAL = "local"  # the source that is the user's own


def places(template: str, entry: ImageEntry, task: str) -> tuple[str, list[str]]:
    """The place of a task's expert, and others under which it has been seen.

    The TALL-masks repository has been seen with its folders spelled either way.
    """
    place = template.format(hub=entry.hub, tall=entry.tall, task=task)
    others = [place.replace("/ViT-", "/VIT-")] if "/ViT-" in place else []
    return place, others


def check_published(name: str, source: str, tasks: ImageTasks) -> None:
    """Raises TadropError where these tasks have published models of others only."""
    backbones = tasks.backbones()
    if source == LOCAL or not backbones or name in backbones:
        return
    raise TadropError(
        f"nobody publishes model={name} fine-tuned on these tasks; "
        f"there is model={' or '.join(backbones)}, or with models of your own "
        "model.source=local 'model.sources.local=\"DIR/{task}\"'"
    )
