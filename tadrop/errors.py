"""The errors that users see.
They stand alone so that telling of them imports nothing heavy.
"""


class TadropError(Exception):
    """A mistake in what the user gave us; the message names it and says what to do."""


class AbsentError(TadropError):
    """Something that is neither on this machine nor to be had from the hub.

    kind: models or datasets; reference: org/name, and a path in it if there is one
    reason: why the hub did not help; is_closed: whether it wants to know who asks
    """

    def __init__(
        self, told: str, kind: str, reference: str, reason: str, is_closed: bool
    ) -> None:
        super().__init__(told)
        self.kind, self.reference = kind, reference
        self.reason, self.is_closed = reason, is_closed
