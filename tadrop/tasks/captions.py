"""Caption metrics over a whole split: BLEU-4 (Papineni et al., 2002), ROUGE-L (Lin,
2004), CIDEr-D (arXiv 1411.5726).

Conventions are the COCO caption evaluation's: corpus-level BLEU with the closest
reference's length, ROUGE with beta 1.2 and the best precision and recall of all
references, CIDEr-D with sigma 6, document frequencies of the references at hand, and
its factor 10. Departures: words are lower-cased runs of letters, digits and
apostrophes, where theirs come from a Penn Treebank tokenizer in Java. METEOR 1.5 exists
in Java alone, with tables of paraphrases: `coco` runs it, and that tokenizer, through
the COCO evaluation's own package. (NLTK's METEOR is another formula with other
constants, and needs WordNet.) SPICE is left out: it needs a parser of 2 GB.
"""

import contextlib
import io
import math
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence

from tadrop.types import TadropError

ORDER = 4
BETA, SIGMA = 1.2, 6.0

Texts = Sequence[Sequence[str]]  # one text as words, or several


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


def ngrams(text: Sequence[str], n: int) -> Counter:
    return Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))


def bleu(candidates: Texts, references: Sequence[Texts]) -> float:
    """BLEU-4 of the corpus, in [0, 1]."""
    hits, totals = [0] * ORDER, [0] * ORDER
    length = closest = 0
    for candidate, refs in zip(candidates, references, strict=True):
        length += len(candidate)
        closest += min((abs(len(r) - len(candidate)), len(r)) for r in refs)[1]
        for n in range(1, ORDER + 1):
            best = Counter()
            for ref in refs:
                best |= ngrams(ref, n)
            mine = ngrams(candidate, n)
            hits[n - 1] += (mine & best).total()
            totals[n - 1] += mine.total()
    if not all(hits):
        return 0.0
    precision = math.exp(
        sum(math.log(h / t) for h, t in zip(hits, totals, strict=True)) / ORDER
    )
    return precision * min(1.0, math.exp(1 - closest / length))


def common(a: Sequence[str], b: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        previous = 0
        for j, other in enumerate(b):
            previous, row[j + 1] = (
                row[j + 1],
                previous + 1 if word == other else max(row[j + 1], row[j]),
            )
    return row[-1]


def rouge(candidates: Texts, references: Sequence[Texts]) -> float:
    """ROUGE-L, mean over images, in [0, 1]."""
    total = 0.0
    for candidate, refs in zip(candidates, references, strict=True):
        precision = (
            max((common(candidate, r) / len(candidate) for r in refs), default=0.0)
            if candidate
            else 0.0
        )
        recall = max(common(candidate, r) / len(r) for r in refs)
        if precision and recall:
            total += (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
    return total / len(candidates)


def cider(candidates: Texts, references: Sequence[Texts]) -> float:
    """CIDEr-D, mean over images; 1 is about as good as one person to another, 10 the
    most.
    """
    documents = [
        set().union(*(ngrams(r, n) for r in refs for n in range(1, ORDER + 1)))
        for refs in references
    ]
    frequency = Counter(gram for grams in documents for gram in grams)
    log_images = math.log(len(references))

    def vector(text: Sequence[str], n: int) -> dict[tuple[str, ...], float]:
        return {
            g: c * (log_images - math.log(max(1, frequency[g])))
            for g, c in ngrams(text, n).items()
        }

    def likeness(candidate: Sequence[str], ref: Sequence[str], n: int) -> float:
        a, b = vector(candidate, n), vector(ref, n)
        norm = math.hypot(*a.values()) * math.hypot(*b.values())
        shared = sum(
            min(weight, b[gram]) * b[gram] for gram, weight in a.items() if gram in b
        )
        distance = max(len(candidate) - 1, 0) - max(
            len(ref) - 1, 0
        )  # lengths in bigrams, as the authors' code has it
        return (
            shared / norm * math.exp(-(distance**2) / (2 * SIGMA**2)) if norm else 0.0
        )

    scores = [
        sum(likeness(candidate, ref, n) for ref in refs for n in range(1, ORDER + 1))
        / len(refs)
        / ORDER
        for candidate, refs in zip(candidates, references, strict=True)
    ]
    return 10 * sum(scores) / len(scores)


def measure(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> Mapping[str, float]:
    """All metrics, CIDEr-D first."""
    said = [words(text) for text in candidates]
    wanted = [[words(text) for text in refs] for refs in references]
    return {
        "CIDEr": cider(said, wanted),
        "BLEU-4": bleu(said, wanted),
        "ROUGE-L": rouge(said, wanted),
    }


def coco(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> Mapping[str, float]:
    """The same metrics and METEOR, all of pycocoevalcap, on Penn Treebank tokens.
    Raises TadropError without it.
    """
    hint = "pip install 'tadrop[captions]', or set tasks.caption_metrics=builtin, which has no METEOR"
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.meteor.meteor import Meteor
        from pycocoevalcap.rouge.rouge import Rouge
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
    except ImportError as error:
        raise TadropError(
            f"the COCO caption evaluation is not installed: {hint}"
        ) from error
    if shutil.which("java") is None:
        raise TadropError(
            f"the COCO caption evaluation runs on Java and there is none: install a Java runtime, {hint}"
        )
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):  # it reports as it goes
        wanted = PTBTokenizer().tokenize(
            {i: [{"caption": t} for t in refs] for i, refs in enumerate(references)}
        )
        said = PTBTokenizer().tokenize(
            {i: [{"caption": text}] for i, text in enumerate(candidates)}
        )
        scorers = {
            "CIDEr": Cider(),
            "BLEU-4": Bleu(4),
            "METEOR": Meteor(),
            "ROUGE-L": Rouge(),
        }
        found = {
            name: scorer.compute_score(wanted, said)[0]
            for name, scorer in scorers.items()
        }
    return {
        name: float(value[-1] if isinstance(value, list) else value)
        for name, value in found.items()
    }


METRICS = {"builtin": measure, "coco": coco}
