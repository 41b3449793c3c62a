"""What the command shows while it works."""

import io

from supir_core.command.report import PicturesBar


def test_the_bar_counts_pictures_a_minute(monkeypatch):
    monkeypatch.setattr("tqdm.std.time", lambda: now)
    shown, now = io.StringIO(), 0.0
    with PicturesBar(total=40, file=shown, smoothing=0) as bar:
        now = 30.0
        bar.set_postfix(failed=1, refresh=False)
        bar.update(10)
    assert "10/40 [00:30<01:30, 20.0 pictures a minute, failed=1]" in shown.getvalue()
