"""The commit of a record is that of this project, and of no other repository."""

import subprocess

import pytest

from tadrop.results.provenance import checkout, provenance

NOWHERE = {"commit": None, "dirty": None}


def git(folder, *words):
    who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A repository with one file, and its commit."""
    top = tmp_path / "theirs"
    (top / "tadrop" / "results").mkdir(parents=True)
    (top / "tadrop" / "results" / "code.py").write_text("one = 1\n")
    git(tmp_path, "init", "-q", str(top))
    git(top, "add", "tadrop")
    git(top, "commit", "-qm", "first")
    return top


def test_the_commit_of_a_checkout_and_whether_it_is_changed(repository):
    file = repository / "tadrop" / "results" / "code.py"
    commit = git(repository, "rev-parse", "HEAD")
    assert checkout(repository, file) == {"commit": commit, "dirty": False}
    file.write_text("one = 2\n")
    assert checkout(repository, file) == {"commit": commit, "dirty": True}


def test_a_repository_around_an_installed_package_is_not_ours(repository):
    site = repository / "venv" / "site-packages"
    file = site / "tadrop" / "results" / "code.py"
    file.parent.mkdir(parents=True)
    file.write_text("one = 1\n")
    assert checkout(site, file) == NOWHERE
    assert checkout(repository, file) == NOWHERE  # installed at its top, not tracked


def test_variables_of_git_do_not_lead_to_another_repository(
    repository, tmp_path, monkeypatch
):
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(repository))
    assert checkout(tmp_path, tmp_path / "code.py") == NOWHERE


def test_the_folder_of_a_command_does_not_matter(repository, monkeypatch):
    here = provenance()["code"]
    monkeypatch.chdir(repository)
    provenance.cache_clear()
    assert provenance()["code"] == here
