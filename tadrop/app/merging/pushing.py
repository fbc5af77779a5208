"""Uploads a merge to the hub, when that is asked for."""

from pathlib import Path

from tadrop.app.console import out, say
from tadrop.storage.checkpoint import first_line
from tadrop.types import TadropError


def push(folder: Path, repository: str, public: bool) -> None:
    """Makes the repository if it is not there, and uploads the folder's files.

    Raises TadropError with the command that repeats it; the folder stays.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repository, private=not public, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message="A merge made with tadrop",
        )
    # The library's exceptions are of many kinds; to the user they mean the same.
    except Exception as error:
        raise TadropError(
            f"{repository}: was not uploaded ({first_line(error)}); {folder} is there. "
            f"Again: hf upload {repository} {folder}"
        ) from error
    say(f"pushed {commit}", out)
