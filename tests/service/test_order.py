"""What an order may not name, whatever the task."""

import pytest
from autocompress.errors import InputError
from autocompress.service.order import Order


@pytest.mark.parametrize("value", ["models.py:make", "/srv/models.py", "x/Models.PY:f", "models.py "])
def test_no_argument_of_an_order_leads_to_code(value):
    with pytest.raises(InputError, match="names a Python file, which would be run"):
        Order(task="images", arguments={"model": value})


def test_what_only_sounds_like_code_is_taken():
    assert Order(task="images", arguments={"data": "/srv/my.pyramids/train"}).arguments
