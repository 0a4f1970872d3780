"""Each format is written by its own library, or from its description, and read back."""

import copy
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.adapters.checkpoints import convert_single_file
from stages.adapters.deltas import compute_delta
from stages.adapters.foreign import read_foreign
from stages.adapters.imported import Imported, apply_imported, convert
from stages.adapters.layouts import count_alike, sort_keys
from stages.base.components import Models, load_models
from stages.config.mistakes import UserError
from stages.config.params import BaseParams
from tests import foreign, stable_diffusion
from tests.tiny import build_base, build_scheduler
from tests.unit.conftest import build_base_params

WORD = "<thing>"
KOHYA_UNET = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
QUERY = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q"


@pytest.fixture
def models(base: BaseParams) -> Models:
    return copy_models(base)


@pytest.fixture(scope="session")
def other_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of the same architecture with other weights in all of its parts."""
    folder = tmp_path_factory.mktemp("models") / "other"
    build_base(folder, seed=1)
    return folder


@pytest.fixture(scope="session")
def other(other_folder: Path) -> StableDiffusionPipeline:
    return StableDiffusionPipeline.from_pretrained(other_folder)


# kohya's files, against diffusers' own reading of them


def test_kohya_is_merged_as_diffusers_does(
    base: BaseParams, models: Models, tmp_path: Path
) -> None:
    layers = foreign.list_kohya_layers(models.unet, models.text_encoder)
    tensors = foreign.write_kohya(layers, rank=lambda number: 2 + number % 3, alpha=3)
    path = foreign.save(tensors, tmp_path / "kohya.safetensors")
    assert_merged_as_diffusers_does(base, path)
    applied = bring_in(base, path)[0].applied
    assert applied == ("LoRA: 60 of 60 modules, rank 2 to 4, alpha 3, on U-Net and text encoder")


def test_kohya_without_alpha_has_that_of_its_rank(
    base: BaseParams, models: Models, tmp_path: Path
) -> None:
    layers = foreign.list_kohya_layers(models.unet, None)
    tensors = foreign.write_kohya(layers, rank=2, alpha=None)
    path = foreign.save(tensors, tmp_path / "kohya.safetensors")
    assert_merged_as_diffusers_does(base, path)
    assert "rank 2, alpha 2, on U-Net" in bring_in(base, path)[0].applied


def test_kohya_conv_layers_are_merged(base: BaseParams, models: Models, tmp_path: Path) -> None:
    layers = foreign.list_kohya_layers(models.unet, None, foreign.CONV_TARGETS)
    assert {layer.weight.shape[2:] for layer in layers.values()} == {(3, 3), (1, 1), ()}
    tensors = foreign.write_kohya(layers, rank=3, alpha=6)
    found, merged = bring_in(base, foreign.save(tensors, tmp_path / "conv.safetensors"))
    assert f"LoRA: {len(layers)} of {len(layers)} modules" in found.applied
    name = "down_blocks.0.resnets.0.conv1"
    kohya = "lora_unet_down_blocks_0_resnets_0_conv1"
    x = torch.randn(1, 8, 6, 6)
    inner = nn.functional.conv2d(x, tensors[f"{kohya}.lora_down.weight"], padding=1)
    added = 2 * nn.functional.conv2d(inner, tensors[f"{kohya}.lora_up.weight"])
    before, after = (m.unet.get_submodule(name)(x) for m in (models, merged))
    torch.testing.assert_close(after, before + added, atol=1e-5, rtol=1e-4)


def test_tuckers_form_of_a_conv_layer_is_three_convolutions(
    base: BaseParams, models: Models, tmp_path: Path
) -> None:
    kohya, name = "lora_unet_down_blocks_0_resnets_0_conv2", "down_blocks.0.resnets.0.conv2"
    down, mid, up = torch.randn(2, 8, 1, 1), torch.randn(2, 2, 3, 3), torch.randn(8, 2, 1, 1)
    tensors = {"lora_down": down, "lora_mid": mid, "lora_up": up}
    tensors = {f"{kohya}.{role}.weight": tensor for role, tensor in tensors.items()}
    merged = bring_in(base, foreign.save(tensors, tmp_path / "tucker.safetensors"))[1]
    x = torch.randn(1, 8, 6, 6)
    conv = nn.functional.conv2d
    added = conv(conv(conv(x, down), mid, padding=1), up)
    before, after = (m.unet.get_submodule(name)(x) for m in (models, merged))
    torch.testing.assert_close(after, before + added, atol=1e-4, rtol=1e-4)


def test_an_eighth_of_alpha_is_an_eighth_of_the_effect(
    base: BaseParams, models: Models, tmp_path: Path
) -> None:
    layers = foreign.list_kohya_layers(models.unet, models.text_encoder)
    tensors = foreign.write_kohya(layers, rank=8, alpha=8)
    weak = {n: torch.tensor(1.0) if n.endswith(".alpha") else t for n, t in tensors.items()}
    paths = [foreign.save(t, tmp_path / f"{i}.safetensors") for i, t in enumerate((tensors, weak))]
    whole, eighth = (subtract(bring_in(base, path)[1], models) for path in paths)
    assert max(delta.abs().max() for delta in whole.values()) > 0.05
    for name, delta in whole.items():
        torch.testing.assert_close(eighth[name], delta / 8, atol=1e-6, rtol=1e-4)


# What diffusers writes


@pytest.mark.parametrize("has_metadata", [True, False])
def test_diffusers_own_file_is_merged_as_diffusers_does(
    base: BaseParams, tmp_path: Path, has_metadata: bool
) -> None:
    pipeline = load_pipeline(base)
    layers, metadata = {}, {}
    for part, targets in {"unet": ["to_k", "to_out.0"], "text_encoder": ["q_proj"]}.items():
        model = getattr(pipeline, part)
        config = LoraConfig(r=2, lora_alpha=5, target_modules=targets)
        model.add_adapter(config)
        disturb(model)
        weights = get_peft_model_state_dict(model)
        layers[f"{part}_lora_layers"] = convert_state_dict_to_diffusers(weights)
        metadata[f"{part}_lora_adapter_metadata"] = config.to_dict()
    StableDiffusionPipeline.save_lora_weights(
        tmp_path, **layers, **(metadata if has_metadata else {})
    )
    assert_merged_as_diffusers_does(base, tmp_path)
    alpha = 5 if has_metadata else 2
    assert f"rank 2, alpha {alpha}, on U-Net and text" in bring_in(base, tmp_path)[0].applied


def test_diffusers_first_layout_is_merged_as_diffusers_does(
    base: BaseParams, models: Models, tmp_path: Path
) -> None:
    tensors = {}
    for name, layer in models.unet.named_modules():
        head, _, end = name.rpartition(".attn2.")
        if end in ("to_q", "to_k", "to_v", "to_out.0"):
            old = f"unet.{head}.attn2.processor.{end.removesuffix('.0')}_lora"
            tensors[f"{old}.down.weight"] = 0.1 * torch.randn(2, layer.weight.shape[1])
            tensors[f"{old}.up.weight"] = 0.1 * torch.randn(layer.weight.shape[0], 2)
    path = foreign.save(tensors, tmp_path / "old.safetensors")
    assert_merged_as_diffusers_does(base, path)


# What peft writes


@pytest.mark.parametrize(
    ("config", "applied"),
    [
        (
            LoraConfig(
                r=4,
                lora_alpha=6,
                target_modules=["to_q", "conv1", "ff.net.2"],
                rank_pattern={"conv1": 2},
                alpha_pattern={"attn2.to_q": 3},
            ),
            "LoRA: 20 of 20 modules, rank 2 to 4, alpha 3 to 6, on U-Net",
        ),
        (
            LoraConfig(r=4, lora_alpha=6, target_modules=["to_v"], use_rslora=True),
            "LoRA: 8 of 8 modules, rank 4, alpha 6, on U-Net",
        ),
        (
            LoraConfig(r=2, lora_alpha=3, target_modules=["to_v", "conv1"], use_dora=True),
            "LoRA with DoRA: 16 of 16 modules, rank 2, alpha 3, on U-Net",
        ),
        (
            LoHaConfig(r=2, alpha=3, target_modules=["to_v", "conv1"]),
            "LoHa: 16 of 16 modules, rank 2, alpha 3, on U-Net",
        ),
        (
            LoHaConfig(r=2, alpha=3, target_modules=["conv1"], use_effective_conv2d=True),
            "LoHa: 8 of 8 modules, rank 2, alpha 3, on U-Net",
        ),
        (
            LoKrConfig(r=2, alpha=3, target_modules=["to_v", "conv1"], decompose_both=True),
            "LoKr: 16 of 16 modules, rank 2, alpha 3, on U-Net",
        ),
        (
            LoKrConfig(r=2, alpha=3, target_modules=["conv1"], use_effective_conv2d=True),
            "LoKr: 8 of 8 modules, rank 2, alpha 3, on U-Net",
        ),
        (
            # So wide that nothing is decomposed: peft heeds alpha and rank all the same.
            LoKrConfig(r=64, alpha=32, target_modules=["to_v"]),
            "LoKr: 8 of 8 modules, on U-Net",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else value.peft_type.value,
)
def test_what_peft_saves_is_merged_as_peft_does(
    base: BaseParams, models: Models, tmp_path: Path, config: Any, applied: str
) -> None:
    adapted = get_peft_model(copy.deepcopy(models.unet), config)
    disturb(adapted)
    adapted.save_pretrained(tmp_path)
    expected = adapted.merge_and_unload().state_dict()
    found, merged = bring_in(base, tmp_path)
    assert found.applied == applied
    assert max(delta.abs().max() for delta in subtract(merged, models).values()) > 0.01
    for name, weight in merged.unet.state_dict().items():
        torch.testing.assert_close(weight, expected[name], atol=1e-5, rtol=1e-5)


def test_pefts_folders_of_unet_and_text_encoder_are_read_together(
    base: BaseParams, models: Models, tmp_path: Path
) -> None:
    expected = {}
    for part, target in {"unet": "to_k", "text_encoder": "q_proj"}.items():
        config = LoraConfig(r=2, lora_alpha=4, target_modules=[target])
        adapted = get_peft_model(copy.deepcopy(models.parts[part]), config)
        disturb(adapted)
        adapted.save_pretrained(tmp_path / part)
        expected[part] = adapted.merge_and_unload().state_dict()
    merged = bring_in(base, tmp_path)[1]
    for part, state in expected.items():
        for name, weight in merged.parts[part].state_dict().items():
            torch.testing.assert_close(weight, state[name], atol=1e-5, rtol=1e-5)


# LyCORIS's files


@pytest.mark.parametrize("axis", [0, 1])
def test_lycoris_keeps_lengths_of_rows_or_of_columns(
    base: BaseParams, models: Models, tmp_path: Path, axis: int
) -> None:
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    weight = models.unet.get_submodule(layer).weight
    down, up = 0.1 * torch.randn(2, 16), 0.1 * torch.randn(8, 2)
    lengths = weight.norm(dim=1 - axis, keepdim=True) * 1.5
    roles = {"lora_down.weight": down, "lora_up.weight": up, "dora_scale": lengths}
    tensors = {
        f"{KOHYA_UNET}.{role}": t for role, t in (roles | {"alpha": torch.tensor(1.0)}).items()
    }
    found, merged = bring_in(base, foreign.save(tensors, tmp_path / "dora.safetensors"))
    assert "with DoRA" in found.applied
    after = merged.unet.get_submodule(layer).weight
    torch.testing.assert_close(after.norm(dim=1 - axis, keepdim=True), lengths)
    direction = weight + up @ down / 2
    direction = direction / direction.norm(dim=1 - axis, keepdim=True)
    torch.testing.assert_close(after, direction * lengths)


@pytest.mark.parametrize(
    ("write", "kind"), [(foreign.write_loha, "LoHa"), (foreign.write_lokr, "LoKr")]
)
def test_lycoris_is_merged_as_peft_does(
    base: BaseParams, models: Models, tmp_path: Path, write: Callable, kind: str
) -> None:
    layers = foreign.list_kohya_layers(models.unet, None, ["to_v"])
    tensors = write(layers, 1, 0.5)
    found, merged = bring_in(base, foreign.save(tensors, tmp_path / "lycoris.safetensors"))
    assert found.applied == f"{kind}: 8 of 8 modules, rank 1, alpha 0.5, on U-Net"
    config = {"LoHa": LoHaConfig, "LoKr": LoKrConfig}[kind]
    extra = {"decompose_factor": 2} if kind == "LoKr" else {}
    adapted = get_peft_model(
        copy.deepcopy(models.unet), config(r=1, alpha=0.5, target_modules=["to_v"], **extra)
    )
    state = adapted.state_dict()
    for name, tensor in tensors.items():
        kohya, _, role = name.partition(".")
        ours = next(n for n, layer in models.unet.named_modules() if layer is layers[kohya])
        if role != "alpha":
            state[f"base_model.model.{ours}.{role}.default"].copy_(tensor)
    expected = adapted.merge_and_unload().state_dict()
    for name, weight in merged.unet.state_dict().items():
        torch.testing.assert_close(weight, expected[name], atol=1e-5, rtol=1e-5)


def test_two_whole_factors_of_lycoris_heed_no_alpha(
    base: BaseParams, models: Models, tmp_path: Path
) -> None:
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    first, second = torch.randn(2, 4), torch.randn(4, 4)
    tensors = {"lokr_w1": first, "lokr_w2": second, "alpha": torch.tensor(1e9)}
    tensors = {f"{KOHYA_UNET}.{role}": t for role, t in tensors.items()}
    merged = bring_in(base, foreign.save(tensors, tmp_path / "lokr.safetensors"))[1]
    delta = subtract(merged, models)[f"unet.{layer}.weight"]
    torch.testing.assert_close(delta, torch.kron(first, second), atol=1e-5, rtol=1e-4)


def test_a_difference_is_added_to_weight_and_bias(
    base: BaseParams, models: Models, tmp_path: Path
) -> None:
    kohya = KOHYA_UNET.replace("to_k", "to_out_0")
    tensors = {f"{kohya}.diff": torch.randn(8, 8), f"{kohya}.diff_b": torch.randn(8)}
    merged = bring_in(base, foreign.save(tensors, tmp_path / "full.safetensors"))[1]
    delta = subtract(merged, models)
    layer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_out.0"
    torch.testing.assert_close(
        delta[f"{layer}.weight"], tensors[f"{kohya}.diff"], atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        delta[f"{layer}.bias"], tensors[f"{kohya}.diff_b"], atol=1e-5, rtol=0
    )


# Whole models


def test_a_pipelines_folder_gives_all_of_its_weights(
    base: BaseParams, other_folder: Path, other: StableDiffusionPipeline
) -> None:
    found, merged = bring_in(base, other_folder)
    assert_is(merged, other)
    assert found.applied == (
        "checkpoint: 142 of 208 tensors of the U-Net, 14 of 36 tensors of the text encoder, "
        "76 of 124 tensors of the VAE differ from the base"
    )


def test_a_folder_with_half_precision_alone_is_read(
    base: BaseParams, other: StableDiffusionPipeline, tmp_path: Path
) -> None:
    half = copy.deepcopy(other).to(dtype=torch.float16)
    half.save_pretrained(tmp_path / "half", variant="fp16")
    assert_is(bring_in(base, tmp_path / "half")[1], half)


def test_a_single_file_gives_all_of_its_weights(
    base: BaseParams, other: StableDiffusionPipeline, tmp_path: Path
) -> None:
    path = foreign.save(foreign.write_single_file(other), tmp_path / "single.safetensors")
    assert_is(bring_in(base, path)[1], other)


def test_a_single_file_is_read_as_diffusers_does(
    base: BaseParams, other: StableDiffusionPipeline, tmp_path: Path
) -> None:
    path = foreign.save(foreign.write_single_file(other), tmp_path / "single.safetensors")
    loaded = type(other.unet).from_single_file(path, config=base.model, subfolder="unet")
    merged = bring_in(base, path)[1]
    for name, weight in loaded.state_dict().items():
        assert torch.equal(merged.unet.state_dict()[name], weight)


def test_a_part_of_a_unet_under_its_own_names_is_read(base: BaseParams, tmp_path: Path) -> None:
    state = copy_models(base).unet.state_dict()
    changed = {n: w + 1 for n, w in state.items() if ".attn2.to_k" in n}
    path = foreign.save(changed, tmp_path / "unet.safetensors")
    found, merged = bring_in(base, path)
    assert found.applied.startswith(
        f"checkpoint: {len(changed)} of {len(state)} tensors of the U-Net"
    )
    for name, weight in merged.unet.state_dict().items():
        assert torch.equal(weight, changed.get(name, state[name]))


def test_the_base_itself_changes_nothing(base: BaseParams) -> None:
    assert bring_in(base, Path(base.model))[0].weights == {}


# Strength


@pytest.mark.parametrize("strength", [0.25, 1.0, 2.0, -1.0])
def test_an_adapter_is_applied_at_its_strength(
    base: BaseParams, models: Models, tmp_path: Path, strength: float
) -> None:
    layers = foreign.list_kohya_layers(models.unet, models.text_encoder)
    path = foreign.save(foreign.write_kohya(layers, 2, 2), tmp_path / "kohya.safetensors")
    whole, part = (subtract(bring_in(base, path, s)[1], models) for s in (1.0, strength))
    for name, delta in whole.items():
        torch.testing.assert_close(part[name], strength * delta, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("strength", [0.25, 2.0, -1.0])
def test_a_checkpoint_is_applied_at_its_strength(
    base: BaseParams, models: Models, other_folder: Path, strength: float
) -> None:
    whole, part = (subtract(bring_in(base, other_folder, s)[1], models) for s in (1.0, strength))
    for name, delta in whole.items():
        torch.testing.assert_close(part[name], strength * delta, atol=1e-5, rtol=1e-4)


# Words


@pytest.mark.parametrize("key", ["<cat-toy>", "emb_params"])
@pytest.mark.parametrize("shape", [(3, 16), (16,)])
def test_a_words_rows_are_read(
    base: BaseParams, tmp_path: Path, key: str, shape: tuple[int, ...]
) -> None:
    rows = torch.randn(shape)
    found = read(base, foreign.save({key: rows}, tmp_path / "word.safetensors"))
    assert found.kind == "word"
    assert torch.equal(found.weights[WORD], rows.reshape(-1, 16))
    assert found.applied == f"embedding {key} as {WORD}: {rows.numel() // 16} vectors of 16"


# Refusals


def test_half_of_the_keys_is_told_with_counts(
    base: BaseParams, models: Models, tmp_path: Path
) -> None:
    layers = foreign.list_kohya_layers(models.unet, models.text_encoder)
    tensors = foreign.write_kohya(layers, rank=2, alpha=2)
    half = dict(list(tensors.items())[::2])
    with pytest.raises(UserError, match=r"^import\.path: 60 of 60 modules are incomplete: encoder"):
        read(base, foreign.save(half, tmp_path / "half.safetensors"))
    whole = dict(list(tensors.items())[: len(tensors) // 2])
    found = read(base, foreign.save(whole, tmp_path / "whole.safetensors"))
    assert "30 of 48 modules" in found.applied  # there is none of the text encoder


def test_half_of_the_modules_that_a_config_names_is_refused(
    base: BaseParams, models: Models, tmp_path: Path
) -> None:
    adapted = get_peft_model(models.unet, LoraConfig(r=2, target_modules=["to_q"]))
    disturb(adapted)
    adapted.save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file(dict(list(tensors.items())[: len(tensors) // 2]), file)
    with pytest.raises(UserError, match=r"4 of 8 modules that its target_modules name are missing"):
        read(base, tmp_path)


def test_an_adapter_whose_start_changed_the_base_is_refused(
    base: BaseParams, models: Models, tmp_path: Path
) -> None:
    adapted = get_peft_model(models.unet, LoraConfig(r=2, target_modules=["to_q"]))
    disturb(adapted)
    adapted.save_pretrained(tmp_path)
    file = tmp_path / "adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"init_lora_weights": "pissa_niter_4"}))
    with pytest.raises(UserError, match="init_lora_weights is pissa_niter_4, which changed the b"):
        read(base, tmp_path)


def break_width(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        n: torch.randn(2, 768) if "attn2_to_k.lora_down" in n else t for n, t in tensors.items()
    }


def zero(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: 0 * t if "lora_up" in n else t for n, t in tensors.items()}


def overflow(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: t / 0 if "attn2_to_k.lora_up" in n else t for n, t in tensors.items()}


def rename(old: str, new: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {name.replace(old, new): t for name, t in tensors.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            break_width,
            r"attn2\.to_k of the base is \(8, 16\), .*another width: it was made for Stable",
        ),
        (
            zero,
            r"the effect is exactly zero in all 48 modules: down_blocks\.0\..*before it was train",
        ),
        (
            overflow,
            r"4 of 144 tensors are not finite: lora_unet_down_.*, lora_.*, lora_.*, …; the tr",
        ),
        (rename("lora_unet_", "lora_te1_"), r"144 of 144 keys .*made for Stable Diffusion XL"),
        (
            rename("lora_unet_", "transformer."),
            r"144 of 144 keys .*made for a transformer such as F",
        ),
        (
            rename("attn2", "attn3"),
            r"48 of 144 keys fit nothing in the base: lora_unet_down_blo.*, …",
        ),
        (
            rename("lora_up.weight", "oft_blocks"),
            r"48 of 144 keys fit nothing.*this is OFT or BOFT",
        ),
        (rename("lora_up.weight", "on_input"), r"this is \(IA\)\^3, which is not read"),
        (rename("lora_up.weight", "a1.weight"), r"this is GLoRA, which is not read"),
        (
            rename("lora_up.weight", "w_norm"),
            r"this is LyCORIS's of norm layers, which is not read",
        ),
    ],
    ids=[
        "width",
        "zero",
        "non-finite",
        "XL",
        "Flux",
        "unknown layers",
        "OFT",
        "IA3",
        "GLoRA",
        "norms",
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    base: BaseParams, models: Models, tmp_path: Path, change: Callable, message: str
) -> None:
    layers = foreign.list_kohya_layers(models.unet, None)
    tensors = change(foreign.write_kohya(layers, rank=2, alpha=2))
    with pytest.raises(UserError, match=rf"^import\.path: .*{message}"):
        read(base, foreign.save(tensors, tmp_path / "adapter.safetensors"))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {"<toy>": torch.ones(2, 768)},
            r"vectors of 768 values, that of Stable Diffusion 1\.x, the",
        ),
        ({"<toy>": torch.zeros(2, 16)}, r"is all zeros"),
        ({"<toy>": torch.full((2, 16), torch.nan)}, r"1 of 1 tensors are not finite: <toy>"),
        ({"clip_l": torch.ones(1, 16), "clip_g": torch.ones(1, 16)}, r"2 embeddings of Stable Dif"),
    ],
)
def test_a_word_that_does_not_fit_is_refused(
    base: BaseParams, tmp_path: Path, tensors: Mapping[str, Tensor], message: str
) -> None:
    with pytest.raises(UserError, match=rf"^import\.path: .*{message}"):
        read(base, foreign.save(tensors, tmp_path / "word.safetensors"))


def drop(name: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {key: t for key, t in tensors.items() if name not in key}


def widen(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: torch.cat([t, t], -1) if "attn2.to_k" in n else t for n, t in tensors.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("input_blocks.1.1.proj_in"), r"2 of the 208 tensors of the U-Net are missing: down_"),
        (drop("encoder.layers.1"), r"16 of the 36 tensors of the text encoder are missing: "),
        (drop("input_blocks.0.0.weight"), r"missing: conv_in\.weight"),
        (widen, r"4 of 208 tensors of the U-Net are of another shape: .*a base of another width"),
        (
            lambda tensors: tensors | {"model.diffusion_model.label_emb.0.0.weight": torch.ones(1)},
            r"1 of \d+ keys fit nothing in the base: model\.diffusion_model\.label_emb\.0",
        ),
        (rename("cond_stage_model.transformer.", "conditioner."), r"of Stable Diffusion XL"),
        (rename("cond_stage_model.transformer.", "cond_stage_model.model."), r"Stable Diffusion 2"),
    ],
)
def test_a_single_file_that_does_not_fit_is_refused(
    base: BaseParams, other: StableDiffusionPipeline, tmp_path: Path, change: Callable, message: str
) -> None:
    tensors = change(foreign.write_single_file(other))
    with pytest.raises(UserError, match=rf"^import\.path: .*{message}"):
        read(base, foreign.save(tensors, tmp_path / "single.safetensors"))


def test_a_pipeline_of_another_schedule_or_architecture_is_refused(
    base: BaseParams, other: StableDiffusionPipeline, tmp_path: Path
) -> None:
    changed = copy.deepcopy(other)
    changed.scheduler = type(changed.scheduler).from_config(
        build_scheduler().config, prediction_type="v_prediction"
    )
    changed.save_pretrained(tmp_path / "v")
    with pytest.raises(UserError, match=r"prediction_type of the scheduler of .* is v_prediction"):
        read(base, tmp_path / "v")
    index = tmp_path / "v/model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "FluxPipeline"))
    with pytest.raises(UserError, match=r"is a FluxPipeline; should be a StableDiffusionPipeline"):
        read(base, tmp_path / "v")


# Stable Diffusion 1.5's true names and shapes


def test_all_264_modules_of_v1_5_are_found() -> None:
    with torch.device("meta"):
        parts = {
            "unet": stable_diffusion.build_unet(),
            "text_encoder": stable_diffusion.build_text_encoder(),
        }
    layers = foreign.list_kohya_layers(*parts.values())
    assert sum(name.startswith("lora_unet_") for name in layers) == 192
    assert sum(name.startswith("lora_te_") for name in layers) == 72
    adapter = sort_keys(foreign.write_kohya(layers, rank=1, alpha=1), {}, parts)
    assert len(adapter) == count_alike(adapter, parts) == 264
    for place, tensors in adapter.items():
        weight = parts[place.part].get_submodule(place.layer).weight
        assert compute_delta(tensors, weight).shape == weight.shape


def test_all_tensors_of_a_single_file_of_v1_5_are_found() -> None:
    with torch.device("meta"):
        pipeline = StableDiffusionPipeline(
            vae=stable_diffusion.build_vae(),
            text_encoder=stable_diffusion.build_text_encoder(),
            tokenizer=None,
            unet=stable_diffusion.build_unet(),
            scheduler=build_scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    tensors = foreign.write_single_file(pipeline)
    # As its repository lists them: v1-5-pruned-emaonly.safetensors.
    known = [
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
        "model.diffusion_model.output_blocks.11.1.proj_out.weight",
        "model.diffusion_model.input_blocks.3.0.op.weight",
        "model.diffusion_model.output_blocks.2.1.conv.weight",
        "model.diffusion_model.output_blocks.5.2.conv.weight",
        "model.diffusion_model.middle_block.1.norm.weight",
        "first_stage_model.decoder.up.3.upsample.conv.weight",
        "first_stage_model.encoder.mid.attn_1.proj_out.weight",
        "cond_stage_model.transformer.text_model.final_layer_norm.weight",
    ]
    assert [name for name in known if name not in tensors] == []
    models = Models(pipeline.unet, pipeline.text_encoder, pipeline.vae, None)
    states = convert_single_file(tensors, models)
    for part, state in states.items():
        expected = {n: w.shape for n, w in models.parts[part].state_dict().items()}
        assert {name: weight.shape for name, weight in state.items()} == expected


@pytest.mark.thorough
def test_a_kohya_file_of_v1_5_is_merged_as_diffusers_does(tmp_path: Path) -> None:
    with torch.device("meta"):
        ours = [stable_diffusion.build_unet(), stable_diffusion.build_text_encoder()]
    for model in ours:
        fill(model.to_empty(device="cpu"))
    layers = foreign.list_kohya_layers(*ours)
    tensors = foreign.write_kohya(layers, rank=lambda number: 2 + number % 3, alpha=3)
    path = foreign.save(tensors, tmp_path / "kohya.safetensors")
    pipeline = StableDiffusionPipeline(
        vae=None,
        tokenizer=None,
        unet=copy.deepcopy(ours[0]),
        text_encoder=copy.deepcopy(ours[1]),
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.load_lora_weights(path)
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    models = Models(*ours, nn.Linear(1, 1), None)
    found = convert(read_foreign(str(path), None), models, build_base_params(tmp_path), WORD)
    assert (
        found.applied == "LoRA: 264 of 264 modules, rank 2 to 4, alpha 3, on U-Net and text encoder"
    )
    apply_imported(found.kind, found.weights, models, 1.0)
    for model, merged in zip(ours, (pipeline.unet, pipeline.text_encoder), strict=True):
        expected = merged.state_dict()
        for name, weight in model.state_dict().items():
            torch.testing.assert_close(weight, expected[name], atol=1e-5, rtol=0)


def read(base: BaseParams, path: Path) -> Imported:
    return convert(read_foreign(str(path), None), copy_models(base), base, WORD)


def copy_models(base: BaseParams) -> Models:
    """The base's models anew, in a tenth of the time that loading them takes."""
    return copy.deepcopy(load_once(base.model))


@functools.cache
def load_once(folder: str) -> Models:
    return load_models(build_base_params(Path(folder)))


def bring_in(base: BaseParams, path: Path, strength: float = 1.0) -> tuple[Imported, Models]:
    """What was read, and the base with it."""
    models, found = copy_models(base), read(base, path)
    apply_imported(found.kind, found.weights, models, strength)
    return found, models


def load_pipeline(base: BaseParams) -> StableDiffusionPipeline:
    return StableDiffusionPipeline.from_pretrained(base.model)


def assert_merged_as_diffusers_does(base: BaseParams, path: Path) -> None:
    pipeline = load_pipeline(base)
    pipeline.load_lora_weights(path)
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    assert_is(bring_in(base, path)[1], pipeline, atol=1e-5)
    delta = subtract(
        Models(pipeline.unet, pipeline.text_encoder, pipeline.vae, None), load_models(base)
    )
    assert max(values.abs().max() for values in delta.values()) > 1e-3


def assert_is(models: Models, pipeline: StableDiffusionPipeline, atol: float = 0) -> None:
    for part, model in models.parts.items():
        expected = getattr(pipeline, part).state_dict()
        for name, weight in model.state_dict().items():
            torch.testing.assert_close(weight, expected[name].float(), atol=atol, rtol=0)


def subtract(models: Models, other: Models) -> dict[str, Tensor]:
    before = {part: model.state_dict() for part, model in other.parts.items()}
    return {
        f"{part}.{name}": weight - before[part][name]
        for part, model in models.parts.items()
        for name, weight in model.state_dict().items()
    }


@torch.no_grad()
def disturb(model: nn.Module) -> None:
    """Give an adapter, which starts without effect, one."""
    generator = torch.Generator().manual_seed(5)
    for name, weight in model.named_parameters():
        if any(word in name for word in ("lora_", "hada_", "lokr_")):
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))


@torch.no_grad()
def fill(model: nn.Module) -> None:
    for weight in model.state_dict().values():
        weight.fill_(0.01)
