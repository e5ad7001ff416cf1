"""Whether Hugging Face's hub can be reached. Its own client tries for more than a minute, file by file, and says so in pages."""

import os
import socket
import ssl
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from .refused import Usage

SECONDS = 10


def endpoint():
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def is_on_hub(source):
    """A name, as organisation/model; a folder that is not there is an error of its own."""
    if Path(source).is_dir():
        return False
    if source.startswith((".", "/", "~")) or "\\" in source or source.count("/") > 1:
        raise Usage(f"{source}: there is no such folder; expected a folder with config.json and weights, a name on the "
                    "hub, or module:factory")
    return True


def is_told_offline():
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def why_unreachable(source):
    """None where the hub answers, also that it has no such model, or nobody wants to ask it."""
    if is_told_offline() or not is_on_hub(source):
        return None
    try:
        urlopen(Request(f"{endpoint()}/{quote(source)}/resolve/main/config.json", method="HEAD"), timeout=SECONDS).close()
    except HTTPError as error:
        return f"it answers {error.code}" if error.code >= 500 else None
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        # The hub's client has certificates of its own.
        if isinstance(reason, ssl.SSLError):
            return None
        return f"no answer in {SECONDS} seconds" if isinstance(reason, (TimeoutError, socket.timeout)) else str(reason)
    return None


def without_hub(sources):
    """Why what an earlier download left must do, from now on; None where it need not. Before transformers is imported."""
    for source in sources:
        if reason := why_unreachable(source):
            os.environ["HF_HUB_OFFLINE"] = "1"
            return reason
    return None
