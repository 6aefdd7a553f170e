"""``python -m reports schema``: print the JSON Schema of ``cases/<case_key>.json``."""

from __future__ import annotations

import argparse
import sys

from reports.json_report import schema_text

EXAMPLE = "example: python -m reports schema > docs/schema/case.schema.json"


def main() -> int:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m reports", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("what", choices=["schema"], help="schema: the JSON Schema of a result file")
    parser.parse_args()
    sys.stdout.write(schema_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
