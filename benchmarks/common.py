"""What every benchmark writes beside its figures: command, device, versions and commit."""

import json
import pathlib
from typing import Any

from mjx_sac.runs import provenance


def write(result: dict[str, Any], path: pathlib.Path | None) -> None:
    """Print the result as JSON and, with a path, write it there."""
    text = json.dumps({**result, "measured_with": provenance.measured_with()}, indent=1)
    print(text)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
