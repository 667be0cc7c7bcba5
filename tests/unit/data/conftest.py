import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from hpcdistill.data.readers import load_dataset
from hpcdistill.errors import DataError


@pytest.fixture
def data_error() -> Callable[..., str]:
    """Load a data set that must fail; check the form of the message and that it has the given parts."""

    def check(name, root, *parts: str) -> str:
        with pytest.raises(DataError) as caught:
            load_dataset(str(name), root)
        message = str(caught.value)
        assert "\n" not in message
        for part in parts:
            assert part in message
        return message

    return check


@pytest.fixture
def unprivileged() -> Callable[[], AbstractContextManager]:
    """Return a context in which file permissions hold, also where the tests are run by root."""

    @contextmanager
    def drop() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return drop
