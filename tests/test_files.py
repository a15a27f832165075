"""Files that are whole or not there."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from dropkd.engine.checkpoint import load_checkpoint, save_checkpoint
from dropkd.errors import RunError
from dropkd.files import replacing, writable_folder, write_text


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    write_text(path, "old")

    def fail_half_way() -> None:
        with replacing(path) as partial:
            partial.write_text("half of the new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("code", "text"), [(errno.ENOSPC, "no space is left"), (errno.EROFS, "read-only"), (errno.EACCES, "permission")]
)
def test_what_the_system_refuses_is_said_with_the_mend(tmp_path: Path, code: int, text: str) -> None:
    with pytest.raises(RunError, match=text), replacing(tmp_path / "last.ckpt"):
        raise OSError(code, "refused")
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="stands in the way"):
        writable_folder(tmp_path / "run")


def test_a_file_follows_the_umask(tmp_path: Path) -> None:
    write_text(tmp_path / "one", "")
    plain = tmp_path / "other"
    plain.write_text("")
    assert (tmp_path / "one").stat().st_mode == plain.stat().st_mode


def test_a_checkpoint_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, {"position": {"epoch": 1}})
    assert load_checkpoint(path)["position"] == {"epoch": 1}
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(RunError, match="can't be read"):
        load_checkpoint(path)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import pickle

    path = tmp_path / "last.ckpt"

    class Gadget:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    path.write_bytes(pickle.dumps(Gadget()))
    with pytest.raises(RunError, match=r"not one of dropkd's|can't be read"):
        load_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_a_missing_checkpoint_says_that_the_run_never_got_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="before its first one"):
        load_checkpoint(tmp_path / "last.ckpt")
