"""An address at which there is no cluster is told at once: Ray itself would try for many minutes."""

import pytest

from pipeline.cluster.session import connect_to_ray
from schemas.errors import InfrastructureError


@pytest.mark.timeout(60)
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere.invalid:6379", "127.0.0.1:99999"])
def test_nobody_is_there(address, monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(InfrastructureError, match=f"no Ray cluster at --address {address}: "), connect_to_ray(address):
        pass
