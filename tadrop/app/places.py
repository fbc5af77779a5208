"""Where the suite's own files lie: its configuration and the repository that holds it."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
CONF = REPOSITORY / "conf"
RECORDS = REPOSITORY / "results" / "records"
