"""The picture of the dashboard shows the dashboard that the sample has."""

import pytest
from support.dashboard_picture import PICTURE, definition, drawn


@pytest.mark.slow
def test_the_picture_is_drawn_from_the_definition() -> None:
    assert PICTURE.read_text(encoding="utf-8") == drawn(definition()), "run `make pictures`"
