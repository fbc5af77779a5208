"""The error that users see. It stands alone so that telling of it imports nothing heavy."""


class TadropError(Exception):
    """A mistake in what the user gave us; the message names it and says what to do."""
