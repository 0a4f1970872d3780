"""The parts of `make tiny`, one after another."""

import pytest

from stages.tiny import __main__ as parts


def test_a_part_that_is_finished_is_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "LATENTS", tmp_path / "latents.safetensors")
    monkeypatch.setattr(parts, "_load_sets", lambda _photographs: pytest.fail("draws again"))
    parts.LATENTS.touch()
    parts.build_vae(None)
