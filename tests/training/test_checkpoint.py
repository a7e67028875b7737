import pytest
import torch

from multirate.errors import TrainingError
from multirate.training import checkpoint


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    state = {"step": 3, "model": {"w": torch.randn(2)}, "window": [torch.zeros(3)], "seconds": 0.5}
    path = checkpoint.save(tmp_path / "checkpoints", 3, state)
    loaded = checkpoint.load(path)
    assert loaded["step"] == 3
    assert loaded["seconds"] == 0.5
    assert torch.equal(loaded["model"]["w"], state["model"]["w"])


def test_the_newest_two_are_kept(tmp_path):
    for step in (5, 50, 1_000_000):
        checkpoint.save(tmp_path, step, {"step": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000050.pt", "step-001000000.pt"]
    assert checkpoint.load(checkpoint.newest_first(tmp_path)[0])["step"] == 1_000_000


def test_a_folder_that_is_missing_has_no_checkpoints(tmp_path):
    assert checkpoint.newest_first(tmp_path / "nothing") == []


def test_a_file_that_holds_a_list_is_no_checkpoint(tmp_path):
    path = tmp_path / "step-000000001.pt"
    torch.save([1, 2], path)
    with pytest.raises(TrainingError, match="holds something else; delete it"):
        checkpoint.load(path)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"x" * 100])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, damage):
    path = checkpoint.save(tmp_path, 1, {"w": torch.zeros(1000)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TrainingError, match=r"cannot read checkpoint .*step-000000001") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


def test_code_in_a_file_is_not_run(tmp_path):
    path = tmp_path / "step-000000001.pt"
    torch.save({"call": print}, path)
    with pytest.raises(TrainingError):
        checkpoint.load(path)
