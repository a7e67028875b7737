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


@pytest.mark.parametrize("stops", [(), (12,), (19,), (12, 17), (23,), (3, 12, 23)])
def test_where_a_run_was_stopped_does_not_show_in_what_it_leaves(tmp_path, stops):
    for step in sorted({0, 10, 20, 25, *stops}):
        checkpoint.save(tmp_path, step, {"step": step}, 10)
        kept = [checkpoint.load(path)["step"] for path in checkpoint.newest_first(tmp_path)]
        assert kept[0] == step and len(kept) <= 2
        assert all(other % 10 == 0 for other in kept[1:])
    assert kept == [25, 20]


def test_what_was_just_written_stays_beside_a_newer_one_that_cannot_be_read(tmp_path):
    checkpoint.save(tmp_path, 20, {"step": 20}, 10)
    (tmp_path / "step-000000030.pt").touch()
    checkpoint.save(tmp_path, 24, {"step": 24}, 10)
    names = {path.name for path in checkpoint.newest_first(tmp_path)}
    assert names == {"step-000000024.pt", "step-000000030.pt"}


def test_files_of_other_names_are_no_checkpoints(tmp_path):
    (tmp_path / "step-best.pt").touch()
    checkpoint.save(tmp_path, 5, {"step": 5})
    assert [path.name for path in checkpoint.newest_first(tmp_path)] == ["step-000000005.pt"]


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
