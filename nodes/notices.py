"""Warnings of what a canvas is told besides pictures."""

from __future__ import annotations

import logging

from comfy_execution.utils import get_executing_context

log = logging.getLogger(__name__)


def warn(text: str) -> None:
    """A warning in the log and, where a canvas looks on, under the node that is running."""
    log.warning(text)
    from server import PromptServer  # not at the top: it starts what only a server needs

    server, context = getattr(PromptServer, "instance", None), get_executing_context()
    if server and context:
        server.send_progress_text(text, context.node_id, server.client_id)
