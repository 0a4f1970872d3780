import torch

from stages.sampling.noise import build_generators, derive_seed, draw_initial_latents

SHAPE = (4, 8, 8)
SEEDS = [derive_seed(0, prompt_id, index) for prompt_id in ("a-1", "b-2") for index in range(2)]


def test_batch_size_does_not_change_initial_latents() -> None:
    together = draw_initial_latents(build_generators(SEEDS), SHAPE)
    alone = [draw_initial_latents(build_generators([seed]), SHAPE) for seed in SEEDS]
    assert torch.equal(together, torch.cat(alone))


def test_the_order_of_pictures_does_not_change_initial_latents() -> None:
    forwards = draw_initial_latents(build_generators(SEEDS), SHAPE)
    backwards = draw_initial_latents(build_generators(SEEDS[::-1]), SHAPE)
    assert torch.equal(forwards, backwards.flip(0))


def test_each_of_seed_prompt_and_index_changes_the_noise() -> None:
    seeds = {derive_seed(*key) for key in [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]}
    assert len(seeds) == 4


def test_the_parts_of_a_seed_do_not_run_together() -> None:
    assert derive_seed(1, "1", 1) != derive_seed(11, "", 1)


def test_seeds_survive_a_column_of_floats() -> None:
    assert all(int(float(seed)) == seed for seed in SEEDS)


def test_initial_latents_are_unit_normal() -> None:
    latents = draw_initial_latents(build_generators(range(8)), (4, 64, 64))
    assert abs(latents.mean().item()) < 0.01  # 3.6 standard errors of 131,072 values
    assert abs(latents.std().item() - 1) < 0.01
