#!/usr/bin/env bash
# The curve by fine-tuning a plain VAE that is there already, against training from scratch in as many steps:
# static binary MNIST, a plain model of 8 epochs at beta 1, then 1, 2, 4 or 8 epochs of a multi-rate model from it and
# from new weights, and four dedicated beta-VAEs of 8 epochs. Usage: results/from-plain.sh [mlp|convnet|...].
# About fifteen minutes of one CPU core for the MLP.
set -euo pipefail
cd "$(dirname "$0")/.."
model=${1:-mlp}
run=runs/from-plain-$model
out=results/from-plain/$model
options=(--data mnist --model "$model" --seed 0)
betas=0.01,0.022,0.046,0.1,0.22,0.46,1,2.2,4.6,10
mkdir -p "$out"

multirate train "${options[@]}" --epochs 8 --beta 1 --out "$run/plain" --resume
multirate evaluate "$run/plain" --no-figures
cp "$run/plain/curve.json" "$out/plain.json"
for epochs in 1 2 4 8; do
    multirate train "${options[@]}" --epochs "$epochs" --from "$run/plain" --preserve-at 1.0 --out "$run/fine-tuned-$epochs" --resume
    multirate train "${options[@]}" --epochs "$epochs" --out "$run/scratch-$epochs" --resume
    for kind in fine-tuned scratch; do
        multirate evaluate "$run/$kind-$epochs" --betas "$betas" --label "$kind, $epochs epochs" --no-figures
        cp "$run/$kind-$epochs/curve.json" "$out/$kind-$epochs.json"
    done
done
multirate sweep --betas 0.01,0.1,1,10 "${options[@]}" --epochs 8 --out "$run/dedicated"
cp "$run/dedicated/curve.json" "$out/dedicated.json"
python results/from-plain.py "$model"
