#!/usr/bin/env bash
# One multi-rate ResNet and six dedicated beta-VAEs on static binary Omniglot, 8 epochs each, all options the defaults, and their
# comparison. About three hours of one CPU core. MULTIRATE_DATA may name a folder with omniglot/; otherwise it is downloaded.
set -euo pipefail
cd "$(dirname "$0")/.."
run=runs/omniglot-resnet
options=(--data omniglot --model resnet --epochs 8 --seed 0)

multirate train "${options[@]}" --out "$run" --resume
multirate evaluate "$run" --betas 0.01,0.021544,0.046416,0.1,0.215443,0.464159,1,2.154435,4.641589,10
for beta in 0.01 0.1 1 2.154435 4.641589 10; do
    multirate train "${options[@]}" --beta "$beta" --out "$run-dedicated/beta-$beta" --resume
    multirate evaluate "$run-dedicated/beta-$beta"
done
multirate compare "$run" "$run"-dedicated/beta-*
multirate plot "$run"
multirate report "$run"

mkdir -p results/omniglot-resnet
cp "$run"/{curve,comparison}.json "$run"/baselines/*.json results/omniglot-resnet/
cp "$run"/figures/{rate_distortion,against_beta,gaps,prior_samples,reconstructions}.png results/omniglot-resnet/
