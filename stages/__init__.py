"""The map: a line per stage, in execution order, a line per folder, and what the letters mean.

    stage      reads -> writes; V is baseline or finetuned
    check      params.yaml, names of source files -> data/checked.json, which changes with the files
    preflight  pictures, prompts, base, scorer -> data/chosen.csv, left_out.csv, subject.json
    prepare    chosen pictures, prompts -> data/pairs.parquet, data/prompts.csv, data/handed_in/
    embed      pairs, scorer -> data/image_embeds.safetensors
    encode     pairs, VAE, text encoder -> data/latents.safetensors, data/prompt_embeds.safetensors
    finetune   what `encode` wrote, base -> models/finetuned/, plots/data/: losses, finetune.json
    sample     prompts, base, for finetuned its weights -> data/samples/V.parquet
    score      pictures, scorer, embeds -> data/scores/V.csv, V.json, V.safetensors
    compare    scores of both -> metrics/comparison.json, plots/data/comparison/
    preference votes of people, scores -> metrics/preference.json, plots/data/preference/
    report     all of it -> plots/report.html, report.md, grids/, metrics/cost.json

    folder     what lives there
    config     params, paths, mistakes: pure, imports nothing of ours
    run        how a stage starts, ends, resumes and is launched; what it cost
    files      what the stages write, in and out
    sources    pictures and prompts from outside; drawing/ beneath it makes the shipped ones
    base       a base's parts; prompts to embeddings, pictures to latents and back
    sampling   noise, guidance, denoising, batches of pictures
    adapters   what is trained or imported, how it is saved and put back
    training   the lesson, its batches, loss and optimizer, the loop
    scoring    the scorer and a module per metric
    analysis   paired differences, intervals, verdicts
    study      what people are shown, whose it was, what they answered
    reporting  charts and the pages
    commands   what people run beside the stages: duel, guidance, plan, pool, study, votes, export…
    tiny       the builder of the shipped base

Letters in shapes: B batch, N pictures, P prompts, H W pixels, h w latent cells, L tokens, D text
width, E the scorer's embedding, T training timesteps; K distinct texts, M pictures to compare with.
"""

import gc
import logging
import os
import signal
import sys

# A stage takes seconds to import torch before its `run_stage` can word an interrupt. Until then
# Ctrl-C ends it at once, without a traceback. argv[0] is "-m" while `python -m` looks for a module.
if sys.argv[0] == "-m":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # What is imported stays: to look for garbage in it takes a fifth of those seconds.
    gc.disable()
    # bitsandbytes has functions to be compiled, which no stage calls: for them it would import the
    # compiler, a second. `run_stage` takes both back, so that `torch.compile` compiles.
    if "TORCHDYNAMO_DISABLE" not in os.environ:
        os.environ |= {"TORCHDYNAMO_DISABLE": "1", "ATTUNE_IMPORTS": "1"}

# On CPUs with bfloat16 it warns at import that it has no kernel of 4 bits: nothing here needs one.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
