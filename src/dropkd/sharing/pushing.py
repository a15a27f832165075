"""A run's student to a repository of the Hugging Face hub, by the hub's own client."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

import dropkd
from dropkd.errors import ConfigError, ModelError, RunError
from dropkd.models.hub import is_reachable
from dropkd.models.hub_names import check_repository, check_revision
from dropkd.run import Run
from dropkd.sharing.package import CARD_FILE, OWN_FILES, Package, package_run

__all__ = ["Push", "push_run"]

_LOGIN = "Make one with the right to write at {endpoint}/settings/tokens, then `hf auth login`, or set HF_TOKEN."


@dataclass(frozen=True)
class Push:
    """What was sent.

    Args:
        repository: ``OWNER/NAME``.
        revision: the branch, or None for the main one.
        package: the files; its folder is there no more, unless it was kept by ``dry_run``.
        url: where the commit can be looked at; None where nothing was sent.
    """

    repository: str
    revision: str | None
    package: Package
    url: str | None

    @property
    def place(self) -> str:
        """What :func:`dropkd.load` takes."""
        return f"hf:{self.repository}" + (f"@{self.revision}" if self.revision else "")


def push_run(
    run: Run | str | Path,
    repository: str,
    *,
    private: bool = False,
    revision: str | None = None,
    with_onnx: bool = False,
    licence: str | None = None,
    licence_link: str | None = None,
    data_name: str | None = None,
    keep_card: bool = False,
    dry_run: str | Path | None = None,
    announce: Callable[[Package], None] | None = None,
) -> Push:
    """Send a finished run's student to a repository of the Hugging Face hub.

    Sent are the weights, ``config.json``, the model card and, if asked for, an ONNX file: no image, no checkpoint of
    the training, nothing that names a place on this machine. A student of timm's is in timm's own layout, so that
    ``timm.create_model("hf-hub:OWNER/NAME", pretrained=True)`` builds it; :func:`dropkd.load` opens any.

    Args:
        run: a run or its folder.
        repository: ``OWNER/NAME``; made where it is not there.
        private: nobody but its owners may see it.
        revision: a branch other than the main one; made where it is not there.
        with_onnx: export the student as ONNX too, which reads the run's images to compare its answers.
        licence: of the student, as its owner states it, ``apache-2.0`` for example.
        licence_link: where the text of an unusual licence is.
        data_name: how the card calls the images; by default what their place is called.
        keep_card: leave the ``README.md`` that is in the repository as it is.
        dry_run: a folder that the files are written to in place of being sent.
        announce: is told what will be sent, before anything is.

    Raises:
        RunError: the run is not finished, or the hub refuses or can't be reached.
        ConfigError: there is no token, or things are asked for that don't go together.
        ModelError: the repository or the branch has a name that none can have.
    """
    repository, revision = _read_place(repository, revision)
    opened = run if isinstance(run, Run) else Run.open(run)
    if dry_run is None:
        _check_ready(repository)

    def pack(folder: Path) -> Package:
        package = package_run(
            opened, folder, repository=repository, revision=revision, licence=licence, licence_link=licence_link,
            data_name=data_name, with_onnx=with_onnx,
        )  # fmt: skip
        if announce is not None:
            announce(package)
        return package

    if dry_run is not None:
        return Push(repository, revision, pack(Path(dry_run)), None)
    with tempfile.TemporaryDirectory(prefix="dropkd-push-") as place:
        package = pack(Path(place, "package"))
        return Push(repository, revision, package, _send(package, repository, revision, private, keep_card))


def _read_place(repository: str, revision: str | None) -> tuple[str, str | None]:
    """Return the repository's name and the branch; both may stand in one text, as :func:`dropkd.load` takes it."""
    name, at, named = repository.removeprefix("hf:").partition("@")
    if at and revision is not None and named != revision:
        raise ConfigError(f"{repository!r} names the branch {named!r}, but --revision says {revision!r}.")
    branch = named if at else revision
    return check_repository(name), None if branch is None else check_revision(branch)


def _check_ready(repository: str) -> None:
    """Raise where the hub can't be reached or no token is there, before anything is computed."""
    if constants.HF_HUB_OFFLINE:
        raise RunError("HF_HUB_OFFLINE is set, so nothing can be sent. Unset it, or write the files with --dry-run.")
    if not is_reachable():
        raise RunError(
            f"{constants.ENDPOINT} can't be reached, so nothing can be sent. Write the files to a folder (--dry-run) "
            f"and send them later by `hf upload {repository} FOLDER`."
        )
    if not huggingface_hub.get_token():
        raise ConfigError(f"There is no token for {constants.ENDPOINT}. {_say_login()}")


def _send(package: Package, repository: str, revision: str | None, private: bool, keep_card: bool) -> str:
    api = HfApi(library_name="dropkd", library_version=dropkd.__version__)
    with _explained(repository):
        api.create_repo(repository, private=private or None, exist_ok=True)
        found = api.repo_info(repository)
        if private and found.private is False:
            raise RunError(
                f"{repository!r} is there already, and everyone can see it; --private was asked for, so nothing is "
                "sent. Make it private in its settings first, or choose another name."
            )
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        has_card = keep_card and api.file_exists(repository, CARD_FILE, revision=revision)
        sent = {file.name for file in package.files if not (has_card and file.name == CARD_FILE)}
        # What an earlier push put there and this one does not would be of other weights.
        stale = [name for name in OWN_FILES if name not in sent and name != CARD_FILE]
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=package.folder,
            revision=revision,
            allow_patterns=sorted(sent),
            delete_patterns=stale or None,
            commit_message=f"Student by dropkd {dropkd.__version__}",
        )
    return str(commit.commit_url)


@contextmanager
def _explained(repository: str) -> Iterator[None]:
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise ConfigError(f"There is no token for {constants.ENDPOINT}. {_say_login()}") from error
    except OfflineModeIsEnabled as error:
        raise RunError("HF_HUB_OFFLINE is set, so nothing can be sent.") from error
    except RevisionNotFoundError as error:
        raise RunError(f"The repository {repository!r} has no such branch: {_first_line(error)}") from error
    except HfHubHTTPError as error:
        raise _explain_refusal(error, repository) from error
    except (RunError, ConfigError, ModelError):
        raise
    except Exception as error:
        # The client passes on what its own libraries raise where a connection fails or breaks off.
        raise RunError(
            f"Sending to {repository!r} at {constants.ENDPOINT} failed ({type(error).__name__}: {_first_line(error)}) "
            "Nothing in the repository has changed unless a commit was made. Try again, or write the files to a folder "
            "(--dry-run)."
        ) from error


def _explain_refusal(error: HfHubHTTPError, repository: str) -> RunError | ConfigError:
    status = error.response.status_code if error.response is not None else None
    owner = repository.partition("/")[0]
    if status == 401 and not isinstance(error, RepositoryNotFoundError):
        return ConfigError(f"{constants.ENDPOINT} does not know the token (401). {_say_login()}")
    if status in (401, 403, 404):
        return ConfigError(
            f"{constants.ENDPOINT} does not let this token write to {repository!r} ({status}). Is {owner!r} you, or an "
            f"organisation that you are in? {_say_login()}"
        )
    return RunError(f"{constants.ENDPOINT} refused {repository!r} ({status}): {_first_line(error)}")


def _say_login() -> str:
    return _LOGIN.format(endpoint=constants.ENDPOINT)


def _first_line(error: BaseException) -> str:
    said = getattr(error, "server_message", None) or str(error)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f"{(lines or [type(error).__name__])[0].rstrip('.')}."
