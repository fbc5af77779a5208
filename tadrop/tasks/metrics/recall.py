"""Recall of images by texts and of texts by images, over all pairs of a split."""

from torch import Tensor

RANKS = (1, 5, 10)
CHUNK = 1000  # queries compared with all answers at once


def recalls(vectors: Tensor, is_text: Tensor, image: Tensor) -> dict[str, float]:
    """Recall at 1, 5 and 10 in both directions, their mean first.

    vectors: unit vectors of images and texts, [n, width]
    is_text: which of them are texts, [n]
    image:   the number of the image that each shows or describes, [n]
    """
    images, texts = vectors[~is_text], vectors[is_text]
    of_images, of_texts = image[~is_text], image[is_text]
    shares = _at_ranks("TR", images, of_images, texts, of_texts)
    shares |= _at_ranks("IR", texts, of_texts, images, of_images)
    return {"mean recall": sum(shares.values()) / len(shares)} | shares


def _at_ranks(
    name: str, queries: Tensor, owners: Tensor, answers: Tensor, answer_owners: Tensor
) -> dict[str, float]:
    """The share of queries with a right answer among the first 1, 5 and 10.

    An answer is right where its image is the query's.
    """
    most = min(max(RANKS), len(answers))
    hits = dict.fromkeys(RANKS, 0)
    for part, owner in zip(queries.split(CHUNK), owners.split(CHUNK), strict=True):
        best = (part @ answers.T).topk(most, dim=1).indices
        right = answer_owners[best] == owner[:, None]
        for rank in RANKS:
            hits[rank] += int(right[:, :rank].any(1).sum())
    return {f"{name}@{rank}": count / len(queries) for rank, count in hits.items()}
