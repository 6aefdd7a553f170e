from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from torture_program import make_inputs

PROGRAM = Path(__file__).with_name("torture_program.py")
NUM_STUDIES = 16
ENDED = {0, 1}
DISK_BYTES = 1_000_000  # of the small disk that is filled


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own that can be filled; an ordinary folder where mounting is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    is_mounted = shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0
    yield place
    if is_mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def make_read_only(place: Path) -> bool:
    """Whether that could be done: by mounting it so, or by its mode where we are not root."""
    command = ["mount", "-o", "remount,ro", str(place)]
    if shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0:
        return True
    place.chmod(0o500)
    return os.geteuid() != 0


def start(inputs: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROGRAM), str(inputs), str(out)]
    return subprocess.Popen(command, cwd=PROGRAM.parents[2], stderr=subprocess.PIPE, text=True, start_new_session=True)


def finish(inputs: Path, out: Path) -> tuple[int, str]:
    process = start(inputs, out)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def cases_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "cases").iterdir())}


class Torturer:
    """Does one bad thing to a run or to its output, chosen and timed at random."""

    def __init__(self, inputs: Path, out: Path, seed: int) -> None:
        self.inputs, self.out = inputs, out
        self.random = random.Random(seed)
        self.done: list[str] = []
        self.deck: list[Callable[[], None]] = []

    def act(self) -> None:
        """The next deed of a shuffled deck: every kind is done before one is done twice as often as another."""
        if not self.deck:
            self.deck = [
                self.kill_run, self.kill_run, self.kill_run, self.kill_worker, self.stop_politely,
                self.cut_file, self.change_byte, self.remove_file, self.swap_results, self.leave_half_file,
                self.tear_timings, self.fill_disk, self.run_twice,
            ]  # fmt: skip
            self.random.shuffle(self.deck)
        deed = self.deck.pop()
        self.done.append(deed.__name__)
        deed()

    def _forget_some(self) -> None:
        """Leaves work to do: removes half of the results, as if the run had just begun."""
        for path in sorted((self.out / "cases").glob("*.json")):
            if self.random.random() < 0.5:
                path.unlink()

    def _running(self) -> subprocess.Popen[str]:
        self._forget_some()
        process = start(self.inputs, self.out)
        time.sleep(self.random.uniform(0.1, 1.1))
        return process

    def kill_run(self) -> None:
        process = self._running()
        process.kill()
        process.communicate(timeout=20)

    def stop_politely(self) -> None:
        process = self._running()
        process.send_signal(self.random.choice([signal.SIGINT, signal.SIGTERM]))
        process.communicate(timeout=20)

    def kill_worker(self) -> None:
        process = self._running()
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
        for child in children.stdout.split()[:1]:
            try:
                os.kill(int(child), signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.communicate(timeout=60)

    def run_twice(self) -> None:
        first, second = self._running(), start(self.inputs, self.out)
        codes = [process.communicate(timeout=60) and process.returncode for process in (first, second)]
        assert set(codes) <= {0, 1, 2}

    def _some_file(self) -> Path | None:
        files = sorted(path for path in (self.out / "cases").glob("*") if path.is_file())
        return self.random.choice(files) if files else None

    def cut_file(self) -> None:
        if path := self._some_file():
            whole = path.read_bytes()
            path.write_bytes(whole[: self.random.randrange(len(whole) + 1) // 2])

    def change_byte(self) -> None:
        if (path := self._some_file()) and (whole := bytearray(path.read_bytes())):
            whole[self.random.randrange(len(whole))] ^= 1 << self.random.randrange(8)
            path.write_bytes(whole)

    def remove_file(self) -> None:
        if path := self._some_file():
            path.unlink()

    def swap_results(self) -> None:
        """One study's result under another's name."""
        files = sorted((self.out / "cases").glob("*.json"))
        if len(files) > 1:
            first, second = self.random.sample(files, 2)
            shutil.copyfile(first, second)

    def leave_half_file(self) -> None:
        (self.out / "cases").mkdir(parents=True, exist_ok=True)
        (self.out / "cases" / ".case000.json.99-ab.partial").write_bytes(b'{"case_key": "cas')

    def tear_timings(self) -> None:
        path = self.out / "private" / "seconds.jsonl"
        if path.is_file():
            path.write_bytes(path.read_bytes()[: -self.random.randrange(1, 20)])

    def fill_disk(self) -> None:
        filler = self.out.parent / "filler"
        try:
            with filler.open("wb", buffering=0) as stream:
                for _ in range(DISK_BYTES // 1000):
                    stream.write(b"x" * 1000)
        except OSError:
            pass  # full, as meant
        self._forget_some()
        code, errors = finish(self.inputs, self.out)
        assert code in {0, 1} or "cannot be written" in errors, errors
        filler.unlink()


@pytest.mark.parametrize(
    ("seed", "num_points"), [(1, 5), pytest.param(2, 60, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_a_tortured_run_ends_with_the_bytes_of_an_untouched_one(
    tmp_path: Path, small_disk: Path, seed: int, num_points: int
) -> None:
    make_inputs(tmp_path / "in", NUM_STUDIES)
    assert finish(tmp_path / "in", tmp_path / "untouched")[0] == 1
    expected = cases_of(tmp_path / "untouched")
    assert len([name for name in expected if name.endswith(".json")]) == NUM_STUDIES
    torturer = Torturer(tmp_path / "in", small_disk / "out", seed)
    for _ in range(num_points):
        torturer.act()
    code, errors = finish(tmp_path / "in", small_disk / "out")
    assert code in ENDED, errors
    assert cases_of(small_disk / "out") == expected, torturer.done


def test_a_read_only_output_folder_is_one_message_and_what_is_there_stays(tmp_path: Path, small_disk: Path) -> None:
    make_inputs(tmp_path / "in", 2)
    assert finish(tmp_path / "in", small_disk / "out")[0] == 0
    before = cases_of(small_disk / "out")
    make_inputs(tmp_path / "in", 4)
    if not make_read_only(small_disk):
        pytest.skip("root can write everywhere, and mounting is not allowed here")
    for out in (small_disk / "out", small_disk / "new"):
        code, errors = finish(tmp_path / "in", out)
        assert code == 2, errors
        assert len(errors.strip().splitlines()) == 1, errors
        assert str(out) in errors
    assert cases_of(small_disk / "out") == before
