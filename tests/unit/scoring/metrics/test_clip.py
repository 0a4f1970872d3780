import torch
from torch.nn import functional as F

from stages.scoring.metrics.clip import compute_clip_cosine, predict_classes, rank_own_text

X, Y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])


def draw_unit(count, seed=0):
    return F.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_clip_cosine_of_orthogonal_equal_and_opposite_embeds():
    images, texts = torch.stack([X, X, X]), torch.stack([Y, X, -X])
    assert compute_clip_cosine(images, texts).tolist() == [0.0, 1.0, -1.0]


def test_rescaling_an_embed_changes_no_clip_cosine():
    images, texts = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    expected = compute_clip_cosine(images, texts)
    torch.testing.assert_close(compute_clip_cosine(7 * images, 0.1 * texts), expected)


def test_each_picture_is_scored_with_its_own_text():
    images, texts = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
    reference = torch.nn.functional.cosine_similarity(images[:, None], texts[None], dim=-1)
    torch.testing.assert_close(compute_clip_cosine(images, texts), reference.diagonal())


def test_zero_shot_takes_the_direction_that_is_nearest_not_the_longest():
    classes = torch.stack([100 * (X + Y), X, Y])
    assert predict_classes(torch.stack([Y, X, X + Y]), classes).tolist() == [2, 1, 0]


def test_retrieval_rank_counts_the_texts_that_are_nearer():
    texts = draw_unit(20, seed=1)
    images, own = draw_unit(6), torch.tensor([3, 0, 19, 7, 7, 12])
    sorted_texts = [sorted(range(20), key=lambda t: -float(image @ texts[t])) for image in images]
    expected = [order.index(text) + 1 for order, text in zip(sorted_texts, own, strict=True)]
    assert rank_own_text(images, texts[own], texts).tolist() == expected


def test_the_nearest_text_has_rank_one_and_the_farthest_the_last():
    texts = draw_unit(9, seed=1)
    assert rank_own_text(texts[:1], texts[:1], texts).tolist() == [1]
    assert rank_own_text(-texts[:1], texts[:1], texts).tolist() == [9]


def test_a_text_that_is_as_near_does_not_push_back():
    assert rank_own_text(X[None], X[None], torch.stack([X, X, Y])).tolist() == [1]
