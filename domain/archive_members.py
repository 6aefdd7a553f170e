"""How a file inside an archive is named. A module of its own: decoder processes load it without the records."""

MEMBER_SEPARATOR = "!"  # ``archive.zip!member``
