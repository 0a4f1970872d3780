import torch

from stages.tiny import lesson, recipe
from stages.tiny.denoiser import build_text_encoder, build_unet, train_denoiser
from stages.tiny.tokenizer import build_tokenizer

CAPTIONS = ["a red cat", "a blue ship"]


def test_text_encoder_and_unet_learn_together(tmp_path, monkeypatch):
    changes = {"max_train_steps": 1, "train_batch_size": 2, "lr_warmup_steps": 0}
    monkeypatch.setattr(recipe, "DENOISER", recipe.DENOISER.model_copy(update=changes))
    monkeypatch.setattr(lesson, "SCRATCH", tmp_path)
    tokenizer = build_tokenizer(CAPTIONS)
    trained = train_denoiser(torch.randn(2, 4, 16, 16).half(), CAPTIONS, tokenizer)
    torch.manual_seed(recipe.DENOISER.seed)
    fresh = {"text_encoder": build_text_encoder(tokenizer), "unet": build_unet()}
    for name, model in fresh.items():
        before, after = model.state_dict(), trained[name].cpu().state_dict()
        assert all(value.isfinite().all() for value in after.values())
        assert sum(not torch.equal(before[n], after[n]) for n in before) > len(before) / 2
