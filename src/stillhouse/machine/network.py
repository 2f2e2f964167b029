"""Whether the Hugging Face hub can be reached: asked once, in seconds, before anything that retries for minutes."""

from __future__ import annotations

import contextlib
import threading

PROBE_SECONDS = 4.0


def is_reachable(endpoint: str | None = None, seconds: float = PROBE_SECONDS) -> bool:
    """Whether the hub answers, through the proxies and certificates that a download would use.

    False at once in offline mode (`HF_HUB_OFFLINE`). The thread bounds name resolution, which a socket's timeout does not.

    Args:
        endpoint: Address to ask; None = the hub's own (`HF_ENDPOINT`).
        seconds: Longest wait.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    answered, finished = threading.Event(), threading.Event()

    def probe() -> None:
        with contextlib.suppress(Exception):  # whatever went wrong, the answer is the same: not reached
            status = get_session().head(endpoint or constants.ENDPOINT, timeout=seconds).status_code
            if status < 500 and status not in (403, 407):  # a gateway's refusal is no answer of the hub
                answered.set()
        finished.set()

    threading.Thread(target=probe, daemon=True).start()
    finished.wait(seconds)
    return answered.is_set()
