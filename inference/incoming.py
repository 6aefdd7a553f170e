"""Scans that arrive and results that go back: watching, listening, fetching, storing. No study is run here."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from domain.records import CaseResult
from inference.ledger import dicom_files
from inference.runner import Study
from inference.watching import Arriving, FindEarlier, WatchTimes, follow

KeepStudies = Callable[[Sequence[Arriving]], list[Study]]
Say = Callable[[str], None]


def keep_all(arriving: Sequence[Arriving]) -> list[Study]:
    """Of a folder that nothing arrives in any more."""
    return [study for study, _ in arriving]


def receive(
    args: argparse.Namespace, run_round: Callable[[KeepStudies], None], say: Say, find_earlier: FindEarlier
) -> None:
    """Follow SCANS until Ctrl-C, with a DICOM listener that writes into it where one was asked for.

    Args:
        args: The command line.
        run_round: Runs those of the studies found that it is told to keep.
        say: Tells the user a line.
        find_earlier: Result of an earlier run for a case key.
    """
    times = WatchTimes(args.poll_s, args.quiet_s)

    def look() -> None:
        follow(args.scans, lambda watch: run_round(watch.complete), times, find_earlier=find_earlier)

    if args.listen is None:
        look()
        return
    from inference.dicom_listener import ListenerSettings, listening

    settings = ListenerSettings(ae_title=args.ae_title, host=args.listen_host, port=args.listen)
    with listening(args.scans, settings) as reception:
        say(f"listening as {args.ae_title} on {args.listen_host}:{reception.port}; Ctrl-C ends it")
        look()


def fetch(url: str, query: Sequence[str], scans: Path, say: Say) -> int:
    """Bring what a query finds on a DICOMweb server into SCANS; gives how many series did not come."""
    from inference.dicomweb import fetch_series, parse_query

    came = fetch_series(url, parse_query(query), scans)
    say(f"{came.num_series} series found, {came.num_fetched} fetched, {came.num_kept} there before")
    for failure in came.failures:
        say(f"  {failure}")
    return len(came.failures)


def send_results(url: str, results: Iterable[CaseResult], out: Path, say: Say) -> None:
    """Store the DICOM results of a run, no others that lie in OUT, on the server that the studies came from."""
    from inference.dicomweb import send_back

    files = [path for result in results for path in dicom_files(out, result) if path.is_file()]
    say(f"{send_back(url, files)} DICOM results stored on {url}")
