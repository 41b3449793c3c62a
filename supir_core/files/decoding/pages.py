"""Which of the pages or frames of a file is the picture."""

from __future__ import annotations

from ..guard import UnreadablePictureError


def page_index(page: int | None, count: int, what: str) -> int:
    """The index of the page that is asked for.

    Args:
        page: its number from 1, if one is named.
        count: how many there are.
        what: what they are called.

    Raises:
        UnreadablePictureError: there are several and none is named, or there is none of that number.
    """
    if page is None and count > 1:
        raise UnreadablePictureError(
            f"it has {count} {what}; save one as a file of its own, or choose it: supir restore --page N, page=N in Python"
        )
    if page is not None and not 1 <= page <= count:
        raise UnreadablePictureError(f"there is no page {page}: it has {count} {what}; choose one from 1 to {count}")
    return (page or 1) - 1
