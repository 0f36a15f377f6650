"""The content of the image, built once for all tests of this folder."""

import pytest

from support.programs.image import Image, build_image


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Return the built image."""
    return build_image(tmp_path_factory.mktemp("image"))
