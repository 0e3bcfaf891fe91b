import pytest

from tests.pretrained_parts import hub_folders


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    """Folders as `transformers` writes them, each with the model that was saved."""
    return hub_folders(tmp_path_factory.mktemp("hub"))
