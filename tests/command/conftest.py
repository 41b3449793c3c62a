"""Pictures that several tests of the command share."""

import pytest

from supir_core.command.demo import demo_photograph
from supir_core.files.convert import to_image


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Two photographs, one of which has sides that are no multiples of eight."""
    folder = tmp_path_factory.mktemp("clean")
    photograph = demo_photograph()[0]
    to_image(photograph[:, :64, 180:260]).save(folder / "a.png")
    to_image(photograph[:, 60:131, 200:267]).save(folder / "b.png")
    return folder
