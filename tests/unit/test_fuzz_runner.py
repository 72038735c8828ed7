"""`make fuzz`: what fails is reported with what repeats it, and the other targets go on."""

from tests.fuzz import __main__ as runner


def test_a_target_that_fails_is_named_with_its_seed_and_the_others_go_on(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(runner, "FOLDER", tmp_path / "kept")
    (tmp_path / "test_a.py").write_text(
        "from hypothesis import given, strategies as st\n"
        "@given(st.integers())\n"
        "def test_a(number):\n"
        "    assert number < 1000\n"
    )
    (tmp_path / "test_b.py").write_text("def test_b():\n    pass\n")
    assert runner.main(0, tmp_path) == 1
    said = capsys.readouterr().out
    assert "test_a.py: round 1 fails with --hypothesis-seed=" in said
    assert "test_b.py: 1 rounds" in said
    assert "failed: test_a.py; see " in said
    report = (tmp_path / "kept" / "test_a.txt").read_text()
    assert "1000" in report


def test_without_a_failure_the_exit_code_is_0(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "FOLDER", tmp_path / "kept")
    (tmp_path / "test_b.py").write_text("def test_b():\n    pass\n")
    assert runner.main(0, tmp_path) == 0
