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
from dataclasses import dataclass
from importlib import import_module

from tadrop.types import TadropError

ORDER = 4  # n-grams of one to so many words are compared
BETA, SIGMA = 1.2, 6.0
# The modules of the COCO caption evaluation, an extra.
COCO = (
    "pycocoevalcap.bleu.bleu",
    "pycocoevalcap.cider.cider",
    "pycocoevalcap.meteor.meteor",
    "pycocoevalcap.rouge.rouge",
    "pycocoevalcap.tokenizer.ptbtokenizer",
)

Text = Sequence[str]  # words


def words(text: str) -> list[str]:
    """The words of a text, lower-cased."""
    return re.findall(r"[\w']+", text.lower())


def ngrams(text: Text, n: int) -> Counter[tuple[str, ...]]:
    """How often each run of n words occurs."""
    starts = range(len(text) - n + 1)
    return Counter(tuple(text[start : start + n]) for start in starts)


def bleu(candidates: Sequence[Text], references: Sequence[Sequence[Text]]) -> float:
    """BLEU-4 of the corpus, in [0, 1]."""
    hits, totals = [0] * ORDER, [0] * ORDER
    length = closest = 0
    for candidate, refs in zip(candidates, references, strict=True):
        length += len(candidate)
        closest += _closest_length(candidate, refs)
        for n in range(1, ORDER + 1):
            best = Counter()
            for ref in refs:
                best |= ngrams(ref, n)
            grams = ngrams(candidate, n)
            hits[n - 1] += (grams & best).total()
            totals[n - 1] += grams.total()
    if not all(hits):
        return 0.0
    logs = [math.log(hit / total) for hit, total in zip(hits, totals, strict=True)]
    precision = math.exp(sum(logs) / ORDER)
    return precision * min(1.0, math.exp(1 - closest / length))


def _closest_length(candidate: Text, refs: Sequence[Text]) -> int:
    """The length of the reference that is closest to the candidate's, in words."""
    lengths = map(len, refs)
    return min((abs(length - len(candidate)), length) for length in lengths)[1]


def common(a: Text, b: Text) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        previous = 0
        for place, other in enumerate(b):
            above = row[place + 1]
            longer = previous + 1 if word == other else max(above, row[place])
            row[place + 1], previous = longer, above
    return row[-1]


def rouge(candidates: Sequence[Text], references: Sequence[Sequence[Text]]) -> float:
    """ROUGE-L, mean over images, in [0, 1]."""
    total = 0.0
    for candidate, refs in zip(candidates, references, strict=True):
        precision = recall = 0.0
        for ref in refs:
            length = common(candidate, ref)
            recall = max(recall, length / len(ref))
            if candidate:
                precision = max(precision, length / len(candidate))
        if precision and recall:
            total += (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
    return total / len(candidates)


@dataclass(frozen=True)
class Frequencies:
    """In how many images' references each n-gram occurs,
    and how many images there are.
    """

    documents: Counter[tuple[str, ...]]
    images: int

    @classmethod
    def of(cls, references: Sequence[Sequence[Text]]) -> "Frequencies":
        """The frequencies in these references."""
        documents = Counter()
        for refs in references:
            grams = set()
            for ref in refs:
                for n in range(1, ORDER + 1):
                    grams.update(ngrams(ref, n))
            documents.update(grams)
        return cls(documents, len(references))

    def weights(self, text: Text, n: int) -> dict[tuple[str, ...], float]:
        """The n-grams of a text, the rarer the heavier."""
        log_images = math.log(self.images)
        weights = {}
        for gram, count in ngrams(text, n).items():
            rarity = log_images - math.log(max(1, self.documents[gram]))
            weights[gram] = count * rarity
        return weights

    def likeness(self, candidate: Text, ref: Text, n: int) -> float:
        """The cosine of two texts' n-grams, lowered where their lengths differ."""
        a, b = self.weights(candidate, n), self.weights(ref, n)
        norm = math.hypot(*a.values()) * math.hypot(*b.values())
        if not norm:
            return 0.0
        products = []
        for gram, weight in a.items():
            if gram in b:
                products.append(min(weight, b[gram]) * b[gram])
        # Lengths are in bigrams, as in the authors' code.
        distance = max(len(candidate) - 1, 0) - max(len(ref) - 1, 0)
        return sum(products) / norm * math.exp(-(distance**2) / (2 * SIGMA**2))


def cider(candidates: Sequence[Text], references: Sequence[Sequence[Text]]) -> float:
    """CIDEr-D, mean over images.

    1 is about as good as one person is to another, 10 the most.
    """
    frequencies = Frequencies.of(references)
    scores = []
    for candidate, refs in zip(candidates, references, strict=True):
        values = []
        for ref in refs:
            for n in range(1, ORDER + 1):
                values.append(frequencies.likeness(candidate, ref, n))
        scores.append(sum(values) / len(refs) / ORDER)
    return 10 * sum(scores) / len(scores)


def measure(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> Mapping[str, float]:
    """All metrics, CIDEr-D first."""
    said = list(map(words, candidates))
    wanted = [list(map(words, refs)) for refs in references]
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
    hint = (
        "pip install -e '.[captions]', or set tasks.caption_metrics=builtin, "
        "which has no METEOR"
    )
    try:
        bleu, cider, meteor, rouge, tokenizer = map(import_module, COCO)
    except ImportError as error:
        raise TadropError(
            f"the COCO caption evaluation is not installed: {hint}"
        ) from error
    if shutil.which("java") is None:
        raise TadropError(
            "the COCO caption evaluation runs on Java and there is none: "
            f"install a Java runtime, {hint}"
        )
    said, wanted = {}, {}
    for image, (candidate, refs) in enumerate(zip(candidates, references, strict=True)):
        said[image] = [{"caption": candidate}]
        wanted[image] = [{"caption": ref} for ref in refs]
    scorers = {
        "CIDEr": cider.Cider(),
        "BLEU-4": bleu.Bleu(4),
        "METEOR": meteor.Meteor(),
        "ROUGE-L": rouge.Rouge(),
    }
    measured = {}
    silence = io.StringIO()  # the package reports as it goes
    with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
        wanted = tokenizer.PTBTokenizer().tokenize(wanted)
        said = tokenizer.PTBTokenizer().tokenize(said)
        for name, scorer in scorers.items():
            value = scorer.compute_score(wanted, said)[0]
            measured[name] = float(value[-1] if isinstance(value, list) else value)
    return measured


METRICS = {"builtin": measure, "coco": coco}
