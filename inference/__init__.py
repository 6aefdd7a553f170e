"""The batch runner: knows a case and a callable, not a network. Imports only `domain`."""

from inference.ledger import Ledger
from inference.run_summary import RunEndedError, RunSummary, StudyFinished
from inference.runner import RunOptions, run_studies
from inference.worker import StagedWorker

__all__ = ["Ledger", "RunEndedError", "RunOptions", "RunSummary", "StagedWorker", "StudyFinished", "run_studies"]
