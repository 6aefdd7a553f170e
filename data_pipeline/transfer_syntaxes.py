"""Transfer syntaxes met in CT archives: encoding of the data set and of the pixels. Decoding itself is elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from data_pipeline.dicom_elements import Encoding


class PixelCodec(StrEnum):
    """How pixel data is compressed."""

    NATIVE = "native"
    RLE = "rle"
    JPEG = "jpeg"  # DCT, 8 or 12 bit
    JPEG_LOSSLESS = "jpeg_lossless"
    JPEG_LS = "jpeg_ls"
    JPEG_2000 = "jpeg_2000"  # and HTJ2K
    UNSUPPORTED = "unsupported"


EXPLICIT = Encoding(is_explicit=True)


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """One transfer syntax.

    Attributes:
        uid: As in (0002,0010).
        name: Short name for tables.
        codec: Pixel compression.
        encoding: Of the data set.
        is_deflated: The data set behind the meta group is deflated.
        is_lossy: Pixels may differ from what the scanner made.
    """

    uid: str
    name: str
    codec: PixelCodec = PixelCodec.NATIVE
    encoding: Encoding = EXPLICIT
    is_deflated: bool = False
    is_lossy: bool = False


IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

TRANSFER_SYNTAXES: dict[str, TransferSyntax] = {
    syntax.uid: syntax
    for syntax in (
        TransferSyntax(IMPLICIT_LITTLE, "implicit little endian", encoding=Encoding(is_explicit=False)),
        TransferSyntax(EXPLICIT_LITTLE, "explicit little endian"),
        TransferSyntax(EXPLICIT_BIG, "explicit big endian", encoding=Encoding(is_explicit=True, is_big_endian=True)),
        TransferSyntax("1.2.840.10008.1.2.1.99", "deflated explicit little endian", is_deflated=True),
        TransferSyntax("1.2.840.10008.1.2.5", "RLE lossless", PixelCodec.RLE),
        TransferSyntax("1.2.840.10008.1.2.4.50", "JPEG baseline", PixelCodec.JPEG, is_lossy=True),
        TransferSyntax("1.2.840.10008.1.2.4.51", "JPEG extended", PixelCodec.JPEG, is_lossy=True),
        TransferSyntax("1.2.840.10008.1.2.4.57", "JPEG lossless", PixelCodec.JPEG_LOSSLESS),
        TransferSyntax("1.2.840.10008.1.2.4.70", "JPEG lossless SV1", PixelCodec.JPEG_LOSSLESS),
        TransferSyntax("1.2.840.10008.1.2.4.80", "JPEG-LS lossless", PixelCodec.JPEG_LS),
        TransferSyntax("1.2.840.10008.1.2.4.81", "JPEG-LS near-lossless", PixelCodec.JPEG_LS, is_lossy=True),
        TransferSyntax("1.2.840.10008.1.2.4.90", "JPEG 2000 lossless", PixelCodec.JPEG_2000),
        TransferSyntax("1.2.840.10008.1.2.4.91", "JPEG 2000", PixelCodec.JPEG_2000, is_lossy=True),
        TransferSyntax("1.2.840.10008.1.2.4.201", "HTJ2K lossless", PixelCodec.JPEG_2000),
        TransferSyntax("1.2.840.10008.1.2.4.202", "HTJ2K lossless RPCL", PixelCodec.JPEG_2000),
        TransferSyntax("1.2.840.10008.1.2.4.203", "HTJ2K", PixelCodec.JPEG_2000, is_lossy=True),
    )
}


def transfer_syntax(uid: str) -> TransferSyntax:
    """The syntax of a UID; one we cannot decode is known as such, and its header is read as all such are written."""
    return TRANSFER_SYNTAXES.get(uid) or TransferSyntax(uid, "unsupported", PixelCodec.UNSUPPORTED)
