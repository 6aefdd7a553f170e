from __future__ import annotations

import pytest

from domain.command_line import run_command
from domain.errors import ExitCode, ScanFolderError


def test_what_the_user_can_mend_is_one_message_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> ExitCode:
        raise ScanFolderError("scans: no such folder")

    assert run_command(command) == 2
    assert capsys.readouterr().err == "error: scans: no such folder\n"


def test_an_interruption_is_exit_130() -> None:
    def command() -> ExitCode:
        raise KeyboardInterrupt

    assert run_command(command) == 130


def test_a_bug_keeps_its_traceback() -> None:
    def command() -> ExitCode:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_command(command)


def test_a_result_is_passed_on() -> None:
    assert run_command(lambda: ExitCode.SOME_FAILED) == 1
