"""ComfyUI finds the nodes here. Nothing is imported before it asks, as pytest imports this file too."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """Give ComfyUI the pack's nodes."""
    from .nodes import SupirExtension

    return SupirExtension()
