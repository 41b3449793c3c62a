"""What a canvas is told besides pictures."""

from __future__ import annotations

import logging

from comfy_execution.utils import get_executing_context

log = logging.getLogger(__name__)


def warn(text: str) -> None:
    """A warning in the log and, where a canvas looks on, under the node that is running."""
    log.warning(text)
    context = get_executing_context()
    if context:
        show(text, context.node_id)


def show(text: str, node: str) -> None:
    """A text under a node, on the canvas whose workflow is running, if there is one."""
    from server import PromptServer  # not at the top: it starts what only a server needs

    server = getattr(PromptServer, "instance", None)
    if server:
        server.send_progress_text(text, node, server.client_id)
