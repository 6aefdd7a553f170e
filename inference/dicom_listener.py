"""A DICOM storage listener (C-STORE, C-ECHO) that files what a scanner or PACS sends. Needs the ``pacs`` extra.

Files are stored as sent, nothing is decoded. When a study is complete is for ``inference.watching`` to say: DICOM has
no message for it, and an association may break at any slice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from domain.errors import InputError
from inference.incoming_files import has_room, instance_path, remove_remains, store

logger = logging.getLogger(__name__)

Event = Any  # pynetdicom.events.Event: its attributes depend on the message, which no type can say

PACS_NEEDED = "the DICOM listener needs the pacs extra: pip install 'myolung[pacs]'"
# Status codes of PS3.4 Annex B.2.3 and PS3.7 Annex C.
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DATASET_DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """Who may send, and where to.

    Attributes:
        ae_title: Ours; an association to another title is refused.
        host: Address to listen on. The default takes nothing from other machines: set it on purpose.
        port: 0 for any free one.
        allowed_senders: AE titles that may send; empty for all that reach the port.
        max_associations: At once.
    """

    ae_title: str = "MYOLUNG"
    host: str = "127.0.0.1"
    port: int = 11112
    allowed_senders: tuple[str, ...] = ()
    max_associations: int = 10


@dataclass(slots=True)
class Reception:
    """What has arrived so far; safe to read while the listener runs."""

    folder: Path
    port: int = 0
    num_stored: int = 0
    num_refused: int = 0
    num_broken: int = 0
    _lock: Lock = field(default_factory=Lock)

    def store(self, event: Event) -> int:
        """File one instance; gives the status the sender is told."""
        try:
            status = self._store(event)
        except OSError:
            logger.exception("an instance could not be written")
            status = OUT_OF_RESOURCES
        with self._lock:
            if status == SUCCESS:
                self.num_stored += 1
            else:
                self.num_refused += 1
        return status

    def broke(self, event: Event) -> None:
        """An association ended without a release: what came whole is kept, the sender will send the rest again."""
        with self._lock:
            self.num_broken += 1
        logger.warning("an association from %s broke off", event.assoc.requestor.ae_title)

    def _store(self, event: Event) -> int:
        content = event.encoded_dataset()
        if not has_room(self.folder, len(content)):
            logger.error("no room for received files in %s", self.folder)
            return OUT_OF_RESOURCES
        try:
            data = event.dataset
            uids = [str(data.get(name, "")) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
        except (ValueError, KeyError, AttributeError, NotImplementedError):
            logger.exception("an instance could not be understood")
            return CANNOT_UNDERSTAND
        if not all(uids) or uids[2] != str(event.request.AffectedSOPInstanceUID):
            return DATASET_DOES_NOT_MATCH
        store(instance_path(self.folder, uids[0], uids[1], uids[2]), content)
        return SUCCESS


@contextmanager
def listening(folder: Path, settings: ListenerSettings) -> Iterator[Reception]:
    """Take what is sent while the block runs.

    Args:
        folder: Receives ``<study>/<series>/<instance>.dcm``; made when missing.
        settings: Who may send, and where to.

    Raises:
        InputError: The extra is not installed, or the port is taken.
    """
    try:
        from pynetdicom import AE, AllStoragePresentationContexts, evt
        from pynetdicom.presentation import build_context
    except ImportError as error:
        raise InputError(PACS_NEEDED) from error
    folder.mkdir(parents=True, exist_ok=True)
    remove_remains(folder)
    entity: Any = AE(ae_title=settings.ae_title)
    entity.supported_contexts = [
        build_context(str(context.abstract_syntax), _transfer_syntaxes()) for context in AllStoragePresentationContexts
    ]
    entity.add_supported_context("1.2.840.10008.1.1")  # verification: C-ECHO
    entity.require_called_aet = True
    entity.require_calling_aet = list(settings.allowed_senders)
    entity.maximum_associations = settings.max_associations
    reception = Reception(folder)
    handlers = [(evt.EVT_C_STORE, reception.store), (evt.EVT_ABORTED, reception.broke), (evt.EVT_CONN_CLOSE, _closed)]
    try:
        server = entity.start_server((settings.host, settings.port), block=False, evt_handlers=handlers)
    except OSError as error:
        raise InputError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from error
    reception.port = server.server_address[1]
    logger.info("listening on %s:%d as %s", settings.host, reception.port, settings.ae_title)
    try:
        yield reception
    finally:
        server.shutdown()


def _transfer_syntaxes() -> list[str]:
    """Everything ingestion can decode, preferred as stored: nothing is converted on the way."""
    from pynetdicom import ALL_TRANSFER_SYNTAXES

    return list(ALL_TRANSFER_SYNTAXES)


def _closed(event: Event) -> None:
    logger.debug("connection from %s closed", event.address)
