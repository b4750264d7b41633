"""What a recorded page plays."""

import base64
import json
import re
import zlib


def scene(text):
    """Return the data in a page: times, geoms, surfaces and frames."""
    return json.loads(zlib.decompress(base64.b64decode(re.search(r'atob\("([^"]+)"\)', text)[1])))
