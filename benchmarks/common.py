"""What every benchmark writes beside its figures: versions, device, commit and the command."""

import json
import pathlib
from typing import Any

from mjx_sac.runs import provenance


def write(result: dict[str, Any], path: pathlib.Path | None) -> None:
    """Prints the result as JSON and, with a path, writes it there."""
    where = provenance.measured_with()
    text = json.dumps({**result, "measured_with": where}, indent=1)
    print(text)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
