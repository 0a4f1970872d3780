"""What every stage starts from: params.yaml, the paths of artefacts, and the way a stage ends."""
