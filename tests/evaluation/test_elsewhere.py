import pytest

from supir_core.evaluation.elsewhere import check_shape, find_result, results_folder


@pytest.fixture
def folder(tmp_path):
    for name in ("a_out.png", "a_b_out.png", "c.jpg", "c_x4.png", "ab.png", "notes.txt", "e1.png", "sub/a-4x.webp"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "file"),
    [("a", "a_out.png"), ("a_b", "a_b_out.png"), ("c", "c.jpg"), ("ab", "ab.png"), ("sub/a", "sub/a-4x.webp")],
)
def test_a_result_is_named_as_its_picture_or_begins_so(folder, name, file):
    assert find_result(folder, name, ["a", "a_b", "c", "ab", "sub/a"]) == folder / file


def test_none_and_several_are_said(folder):
    with pytest.raises(FileNotFoundError, match=r"no result for e in .*a picture named e"):
        find_result(folder, "e", ["e"])
    (folder / "a_final.png").touch()
    with pytest.raises(ValueError, match=r"several results for a in .*: a_final\.png, a_out\.png"):
        find_result(folder, "a", ["a", "a_b"])


def test_results_lie_by_setting_and_seed_or_in_the_folder_itself(tmp_path):
    def found(setting="sr4", seed=0, first=True, only=True):
        return results_folder(tmp_path, setting, seed, first, only)

    assert found() == tmp_path
    assert found(only=False) is None
    assert found(seed=1, first=False) is None
    (tmp_path / "sr4" / "seed1").mkdir(parents=True)
    assert found(only=False) == tmp_path / "sr4"
    assert found(seed=1, first=False, only=False) == tmp_path / "sr4" / "seed1"


def test_another_shape_is_refused_and_a_rounded_one_is_not():
    check_shape((1001, 500), (512, 256))
    with pytest.raises(ValueError, match="500x900 pixels, which is another shape than the 256x512"):
        check_shape((900, 500), (512, 256))
