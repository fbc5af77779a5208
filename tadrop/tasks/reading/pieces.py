"""Texts as BEiT-3's token ids: a sentencepiece model, and a few special ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tadrop.types import TadropError

SHIFT = 1  # a piece's token id is its sentencepiece id plus this (XLM-R's habit)
START, END, UNKNOWN = 0, 2, 3


class Pieces:
    """A sentencepiece model read from a file. Raises TadropError where it is none."""

    def __init__(self, file: Path) -> None:
        from sentencepiece import SentencePieceProcessor

        try:
            self.model: Any = SentencePieceProcessor(model_file=str(file))
        except (OSError, RuntimeError) as error:
            raise TadropError(f"{file}: not a sentencepiece model ({error})") from error

    def encode(self, texts: Sequence[str], longest: int) -> Tensor:
        """Token ids between <s> and </s>, [text, length], -1 after the end.

        longest: token ids of a text, both ends included; longer texts are cut
        """
        unknown = self.model.unk_id()
        rows = []
        for text in texts:
            ids = [START]
            for piece in self.model.encode(text)[: longest - 2]:
                ids.append(UNKNOWN if piece == unknown else piece + SHIFT)
            rows.append(torch.tensor([*ids, END]))
        return pad_sequence(rows, batch_first=True, padding_value=-1)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; special ones, and the padding of the end, are none."""
        most = self.model.vocab_size() + SHIFT
        pieces = [i - SHIFT for i in ids if UNKNOWN < i < most]
        return self.model.decode(pieces)
