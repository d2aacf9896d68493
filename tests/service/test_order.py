"""What an order may not name, whatever the task."""

import pytest
from autocompress.errors import InputError
from autocompress.service.config import DIGITS, ServeConfig
from autocompress.service.order import Order
from autocompress.service.tasks import Tasks


@pytest.mark.parametrize("value", ["models.py:make", "/srv/models.py", "x/Models.PY:f", "models.py "])
def test_no_argument_of_an_order_leads_to_code(value):
    with pytest.raises(InputError, match="names a Python file, which would be run"):
        Order(task="images", arguments={"model": value})


def test_what_only_sounds_like_code_is_taken():
    assert Order(task="images", arguments={"data": "/srv/my.pyramids/train"}).arguments


def test_an_order_on_several_boards_of_a_kind_holds_each_of_them():
    order = Order(target="cpu@ann@left+right:22,cpu-2t")
    assert order.devices == ("left", "right:22")


def test_each_of_several_boards_is_to_be_listed():
    listed = Tasks(
        config=ServeConfig(tasks={DIGITS.name: DIGITS}, devices=("cpu@left+right",)),
        parameters={"digits": ()},
    )
    listed.require(Order(target="cpu@right"))
    listed.require(Order(target="cpu@right+left"))
    with pytest.raises(InputError, match="cpu@other is no board of this service"):
        listed.require(Order(target="cpu@left+other"))
