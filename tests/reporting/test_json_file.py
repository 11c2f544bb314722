from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from sample_results import ENVIRONMENT, FAILED

from rnn_props.reporting import Report, UnwritableError, ensure_writable, write_json

REPORT = Report(environment=ENVIRONMENT, targets=(FAILED,))


def test_trying_a_path_leaves_nothing_behind(tmp_path: Path) -> None:
    ensure_writable(tmp_path / "report.json")
    assert list(tmp_path.iterdir()) == []


def test_trying_a_path_leaves_a_file_that_is_there_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    ensure_writable(path)
    assert path.read_text() == "old"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnwritableError, match=r"there is no folder .*/missing"):
        ensure_writable(tmp_path / "missing" / "report.json")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UnwritableError, match="it is a folder"):
        ensure_writable(tmp_path)


def test_a_name_that_is_too_long_is_refused_with_the_systems_words(tmp_path: Path) -> None:
    with pytest.raises(UnwritableError, match="File name too long"):
        ensure_writable(tmp_path / ("x" * 300))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_takes_no_files_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UnwritableError, match="Permission denied"):
        ensure_writable(tmp_path / "report.json")


def test_the_file_has_the_report_and_nothing_else_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    write_json(REPORT, path)
    assert json.loads(path.read_text()) == json.loads(json.dumps(REPORT.to_json()))
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    path.chmod(0o640)
    write_json(REPORT, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_file_has_the_permissions_that_the_umask_gives(tmp_path: Path) -> None:
    write_json(REPORT, tmp_path / "report.json")
    (tmp_path / "other").touch()
    assert (tmp_path / "report.json").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "report.json").symlink_to(tmp_path / "there.json")
    ensure_writable(tmp_path / "report.json")
    write_json(REPORT, tmp_path / "report.json")
    assert (tmp_path / "report.json").is_symlink()
    assert json.loads((tmp_path / "there.json").read_text())["schema"] == 1


def test_a_device_is_written_to_and_not_replaced() -> None:
    ensure_writable(Path("/dev/null"))
    write_json(REPORT, Path("/dev/null"))
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")

    def full(source: object, destination: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UnwritableError, match="No space left on device"):
        write_json(REPORT, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
